"""The tables of the store. What people decided is in `event`, to which rows are only added.

`standing` is a projection of the events (which label of a thread counts now), kept in the same transaction; `claim`
says who has which task; `draft` holds unfinished answers. From `person` on, the tables are the studio's: who may sign
in, and what they did. A change here needs a migration in `migrations/versions`.
"""

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

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives numbers by itself only to a column of the type INTEGER.
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
    Column("state", String(16), nullable=False),  # open, paused, closed
    Column("licence", Text, nullable=False),
    Column("settings", Text, nullable=False),  # JSON
    Column("created", String(40), nullable=False),
    Column("head", BigInteger, nullable=False),  # the number of the last event
    Column("hash", String(64), nullable=False),  # the running hash after it
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
    Column("pseudonym", String(200), nullable=False),  # "" for labels whose maker is not known
    Column("role", String(16), nullable=False),  # labeller, reviewer, admin, viewer
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "pseudonym"),
)
prompt = Table(
    "prompt",
    metadata,
    _key(),
    _to("project"),
    Column("key", String(32), nullable=False),  # of the whole body
    Column("body", Text, nullable=False),  # JSON: the native form of a prompt
    UniqueConstraint("project_id", "key"),
)
completion = Table(
    "completion",
    metadata,
    _key(),
    _to("prompt"),
    Column("key", String(32), nullable=False),
    Column("policy", Text, nullable=False),
    Column("weights", Text, nullable=False),  # the version of the policy's weights, such as a run's step
    Column("seed", BigInteger),
    Column("sampling", Text, nullable=False),  # JSON
    Column("body", Text, nullable=False),  # JSON: the native form of a completion
    UniqueConstraint("prompt_id", "key"),
)
item = Table(
    "item",
    metadata,
    _key(),
    _to("project"),
    Column("key", String(32), nullable=False),
    Column("kind", String(16), nullable=False),  # content.ITEM_KINDS
    _to("prompt", nullable=True),
    _to("round", nullable=True),
    Column("body", Text, nullable=False),  # JSON: what is neither prompt nor completion
    Column("reason", Text, nullable=False),  # why this task is asked
    Column("gold", Text),  # JSON: the expected verdict of a gold item
    Column("purpose", String(16), nullable=False, server_default=""),  # items.PURPOSES
    Column("choice", String(16), nullable=False, server_default=""),  # how it was chosen: random, disagreement, …
    Column("repeats", BigInteger),  # the item that somebody judges again here
    Column("only_for", BigInteger),  # the one annotator who gets it
    Column("turn", Float, nullable=False),  # tasks are handed out from the smallest on
    Column("overlap", Integer, nullable=False),  # labels wanted; 0: not handed out
    Column("free", Integer, nullable=False),  # slots that nobody holds
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "key"),
    Index("ix_item_project_id_kind_id", "project_id", "kind", "id"),
    Index("ix_item_repeats", "repeats", "only_for"),
    Index("ix_item_only_for", "only_for"),
    Index("ix_item_project_id_purpose", "project_id", "purpose"),
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
    Column("number", BigInteger, nullable=False),  # 1, 2, … within the project, in the order of commits
    Column("kind", String(16), nullable=False),  # events.KINDS
    _to("item", nullable=True),
    _to("annotator", nullable=True),
    Column("name", String(200), nullable=False),  # with item and annotator: the thread of a label
    Column("refers", BigInteger),  # the number of the event that is undone or commented
    Column("body", Text, nullable=False),  # JSON
    Column("recorded", String(40), nullable=False),
    Column("key", String(128), nullable=False),  # of the submission: each has one event
    Column("digest", String(64), nullable=False),  # of this event
    Column("hash", String(64), nullable=False),  # of all events so far
    Column("erased", String(8)),  # at its author's request: "text" (what they wrote), "whole" (all that they said)
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
    # Two people never hold one slot, whatever races there are: the database refuses it.
    Column("slot", Integer),
    Column("state", String(16), nullable=False),  # open, done, skipped
    Column("until", Float, nullable=False),  # seconds since 1970; an open claim returns then
    UniqueConstraint("item_id", "slot"),
    UniqueConstraint("item_id", "annotator_id"),
    Index("ix_claim_project_id_state_until", "project_id", "state", "until"),
    Index("ix_claim_annotator_id_state", "annotator_id", "state"),
)
draft = Table(
    "draft",
    metadata,
    _to("annotator", primary_key=True),
    Column("key", String(64), primary_key=True),  # of the item, or another name that a client chose
    Column("text", Text, nullable=False),
    Column("time", String(40), nullable=False),
)
snapshot = Table(
    "snapshot",
    metadata,
    _key(),
    _to("project"),
    Column("number", Integer, nullable=False),
    Column("head", BigInteger, nullable=False),  # events up to this number
    Column("last_item", BigInteger, nullable=False),  # items up to this id
    Column("round", Text, nullable=False),  # only of this round; "" for all
    Column("labels", String(16), nullable=False, server_default=""),  # reading.LABELS
    Column("choice", String(16), nullable=False, server_default=""),  # only items that were chosen so; "" for all
    Column("rows", BigInteger, nullable=False),
    Column("content", String(64), nullable=False),  # a hash of all rows
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "number"),
)
person = Table(
    "person",
    metadata,
    _key(),
    Column("name", String(100), nullable=False),  # "" after it was erased
    Column("sign_name", String(100), unique=True),  # the name without case, to sign in; none after it was erased
    Column("password", String(200)),  # a hash (argon2); none for those who sign in by a link
    Column("admin", Integer, nullable=False),  # 1: of the whole studio
    Column("created", String(40), nullable=False),
    Column("erased", String(40)),
)
member = Table(
    "member",
    metadata,
    _to("person", primary_key=True),
    _to("project", primary_key=True),
    _to("annotator"),
    Column("role", String(16), nullable=False),  # labeller, reviewer, admin, viewer
    UniqueConstraint("annotator_id"),
)
sign_in = Table(
    "sign_in",
    metadata,
    _key(),
    _to("person"),
    Column("token", String(64), nullable=False, unique=True),  # a hash, as all secrets here
    Column("created", Float, nullable=False),  # seconds since 1970
    Column("seen", Float, nullable=False),
    Index("ix_sign_in_person_id", "person_id"),
)
invite = Table(
    "invite",
    metadata,
    _key(),
    Column("token", String(64), nullable=False, unique=True),
    _to("project", nullable=True),  # none: to the whole studio
    Column("role", String(16), nullable=False),
    _to("person", nullable=True),  # a way back for somebody who is known
    Column("made_by", Id, ForeignKey("person.id")),  # none: made on the machine
    Column("created", String(40), nullable=False),
    Column("until", Float, nullable=False),
    Column("used", String(40)),
    Column("first", Integer, nullable=False),  # 1: printed at the start of a studio that has no admin
)
token = Table(
    "token",
    metadata,
    _key(),
    _to("person"),
    _to("project", nullable=True),  # none: all of the person's projects
    Column("name", String(100), nullable=False),
    Column("token", String(64), nullable=False, unique=True),
    Column("scope", String(16), nullable=False),  # read, label, manage
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
    _to("person", nullable=True),  # none: on the machine, or nobody who is known
    _to("project", nullable=True),
    Column("action", String(40), nullable=False),
    Column("about", Text, nullable=False),  # JSON, without names and texts of people
    Index("ix_audit_project_id_id", "project_id", "id"),
)
webhook = Table(
    "webhook",
    metadata,
    _key(),
    _to("project"),
    Column("url", Text, nullable=False),
    Column("secret", String(64), nullable=False),  # its messages are signed with it
    Column("sent", BigInteger, nullable=False),  # the number of the last event that it was told of
    Column("failures", Integer, nullable=False),  # since the last success
    Column("created", String(40), nullable=False),
    UniqueConstraint("project_id", "url"),
)
setting = Table(
    "setting",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
# Parents first: the order in which a copy fills them.
TABLES = (
    *(project, guideline, round_, annotator, prompt, completion, item, item_completion),
    *(event, standing, claim, draft, snapshot),
    *(person, member, sign_in, invite, token, audit, webhook, setting),
)
