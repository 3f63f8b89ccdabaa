"""An action stands in the audit log once: its id gets a column of its own with a unique index."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Add the column and fill it from `details`; of an action that is there twice, the first entry has the id."""
    op.add_column("audit", sa.Column("action_id", sa.Text))
    audit = sa.table(
        "audit", sa.column("seq", sa.BigInteger), sa.column("details", sa.JSON), sa.column("action_id", sa.Text)
    )
    connection = op.get_bind()
    seen: set[str] = set()
    for seq, details in connection.execute(sa.select(audit.c.seq, audit.c.details).order_by(audit.c.seq)).all():
        action = details.get("action_id")
        if isinstance(action, str) and action not in seen:
            seen.add(action)
            connection.execute(sa.update(audit).where(audit.c.seq == seq).values(action_id=action))
    op.create_index("ix_audit_action_id", "audit", ["action_id"], unique=True)
