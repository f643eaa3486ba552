"""Quality: practice items, repeats of one's own items, how a task was chosen, and snapshots of soft labels."""

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("item", Column("purpose", String(16), nullable=False, server_default=""))
    op.add_column("item", Column("choice", String(16), nullable=False, server_default=""))
    op.add_column("item", Column("repeats", BigInteger))
    op.add_column("item", Column("only_for", BigInteger))
    op.create_index("ix_item_repeats", "item", ["repeats", "only_for"])
    op.create_index("ix_item_only_for", "item", ["only_for"])
    op.create_index("ix_item_project_id_purpose", "item", ["project_id", "purpose"])
    op.add_column("snapshot", Column("labels", String(16), nullable=False, server_default=""))
    op.add_column("snapshot", Column("choice", String(16), nullable=False, server_default=""))
