"""The first schema. The tables stand here as they were then, whatever `schema` says today."""

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
    text,
)

revision = "0001"
down_revision = None

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


def _to(target: str, name: str = "", *, nullable: bool = False, primary_key: bool = False) -> Column[int]:
    return Column(name or f"{target}_id", Id, ForeignKey(f"{target}.id"), nullable=nullable, primary_key=primary_key)


project = Table(
    "project",
    metadata,
    _key(),
    Column("name", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("licence", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("created", String(40), nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
guideline = Table(
    "guideline",
    metadata,
    _key(),
    _to("project"),
    Column("version", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "version"),
)
round_ = Table(
    "round",
    metadata,
    _key(),
    _to("project"),
    Column("name", String(200), nullable=False),
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "name"),
)
annotator = Table(
    "annotator",
    metadata,
    _key(),
    _to("project"),
    Column("pseudonym", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "pseudonym"),
)
prompt = Table(
    "prompt",
    metadata,
    _key(),
    _to("project"),
    Column("key", String(32), nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("project_id", "key"),
)
completion = Table(
    "completion",
    metadata,
    _key(),
    _to("prompt"),
    Column("key", String(32), nullable=False),
    Column("policy", Text, nullable=False),
    Column("weights", Text, nullable=False),
    Column("seed", BigInteger),
    Column("sampling", Text, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("prompt_id", "key"),
)
item = Table(
    "item",
    metadata,
    _key(),
    _to("project"),
    Column("key", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    _to("prompt", nullable=True),
    _to("round", nullable=True),
    Column("body", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("gold", Text),
    Column("turn", Float, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("free", Integer, nullable=False),
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "key"),
    Index("ix_item_project_id_kind_id", "project_id", "kind", "id"),
    Index(
        "ix_item_open",
        "project_id",
        "turn",
        "id",
        postgresql_where=text("free > 0"),
        sqlite_where=text("free > 0"),
    ),
)
item_completion = Table(
    "item_completion",
    metadata,
    _to("item", primary_key=True),
    Column("place", Integer, primary_key=True),
    _to("completion"),
    Index("ix_item_completion_completion_id", "completion_id"),
)
event = Table(
    "event",
    metadata,
    _key(),
    _to("project"),
    Column("number", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    _to("item", nullable=True),
    _to("annotator", nullable=True),
    Column("name", String(200), nullable=False),
    Column("refers", BigInteger),
    Column("body", Text, nullable=False),
    Column("recorded", String(40), nullable=False),
    Column("key", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("project_id", "number"),
    UniqueConstraint("project_id", "key"),
    Index("ix_event_thread", "item_id", "annotator_id", "name", "number"),
    Index("ix_event_project_id_annotator_id_number", "project_id", "annotator_id", "number"),
    Index("ix_event_project_id_refers", "project_id", "refers"),
)
standing = Table(
    "standing",
    metadata,
    _to("item", primary_key=True),
    _to("annotator", primary_key=True),
    Column("name", String(200), primary_key=True),
    _to("project"),
    Column("number", BigInteger, nullable=False),
    UniqueConstraint("project_id", "number"),
)
claim = Table(
    "claim",
    metadata,
    _key(),
    _to("project"),
    _to("item"),
    _to("annotator"),
    Column("slot", Integer),
    Column("state", String(16), nullable=False),
    Column("until", Float, nullable=False),
    UniqueConstraint("item_id", "slot"),
    UniqueConstraint("item_id", "annotator_id"),
    Index("ix_claim_project_id_state_until", "project_id", "state", "until"),
    Index("ix_claim_annotator_id_state", "annotator_id", "state"),
)
draft = Table(
    "draft",
    metadata,
    _to("annotator", primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("text", Text, nullable=False),
    Column("time", String(40), nullable=False),
)
snapshot = Table(
    "snapshot",
    metadata,
    _key(),
    _to("project"),
    Column("number", Integer, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("last_item", BigInteger, nullable=False),
    Column("round", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("content", String(64), nullable=False),
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "number"),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
