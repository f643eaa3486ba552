"""People: accounts, roles, sign-ins, invites, tokens, the audit log; and events that their author had erased."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

revision = "0002"
down_revision = "0001"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer(), "sqlite")


def _key() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def _to(target: str, *, nullable: bool = False, primary_key: bool = False) -> Column[int]:
    return Column(f"{target}_id", Id, ForeignKey(f"{target}.id"), nullable=nullable, primary_key=primary_key)


# What the new tables refer to, as far as they do.
project = Table("project", metadata, _key())
annotator = Table("annotator", metadata, _key())

person = Table(
    "person",
    metadata,
    _key(),
    Column("name", String(100), nullable=False),
    Column("sign_name", String(100), unique=True),
    Column("password", String(200)),
    Column("admin", Integer, nullable=False),
    Column("created", String(40), nullable=False),
    Column("erased", String(40)),
)
member = Table(
    "member",
    metadata,
    _to("person", primary_key=True),
    _to("project", primary_key=True),
    _to("annotator"),
    Column("role", String(16), nullable=False),
    UniqueConstraint("annotator_id"),
)
sign_in = Table(
    "sign_in",
    metadata,
    _key(),
    _to("person"),
    Column("token", String(64), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Index("ix_sign_in_person_id", "person_id"),
)
invite = Table(
    "invite",
    metadata,
    _key(),
    Column("token", String(64), nullable=False, unique=True),
    _to("project", nullable=True),
    Column("role", String(16), nullable=False),
    _to("person", nullable=True),
    Column("made_by", Id, ForeignKey("person.id")),
    Column("created", String(40), nullable=False),
    Column("until", Float, nullable=False),
    Column("used", String(40)),
    Column("first", Integer, nullable=False),
)
token = Table(
    "token",
    metadata,
    _key(),
    _to("person"),
    _to("project", nullable=True),
    Column("name", String(100), nullable=False),
    Column("token", String(64), nullable=False, unique=True),
    Column("scope", String(16), nullable=False),
    Column("created", String(40), nullable=False),
    Column("until", Float, nullable=False),
    Column("used", String(40)),
    Index("ix_token_person_id", "person_id"),
)
audit = Table(
    "audit",
    metadata,
    _key(),
    Column("time", String(40), nullable=False),
    _to("person", nullable=True),
    _to("project", nullable=True),
    Column("action", String(40), nullable=False),
    Column("about", Text, nullable=False),
    Index("ix_audit_project_id_id", "project_id", "id"),
)
webhook = Table(
    "webhook",
    metadata,
    _key(),
    _to("project"),
    Column("url", Text, nullable=False),
    Column("secret", String(64), nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "url"),
)
setting = Table(
    "setting",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
NEW = (person, member, sign_in, invite, token, audit, webhook, setting)


def upgrade() -> None:
    op.add_column("event", Column("erased", String(8)))
    metadata.create_all(op.get_bind(), tables=NEW, checkfirst=False)
