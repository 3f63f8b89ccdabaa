"""A key can get a new secret while the old one opens for a while longer."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Add what is known of the replaced secret."""
    op.add_column("api_keys", sa.Column("previous_sha256", sa.Text, nullable=False, server_default=""))
    op.add_column("api_keys", sa.Column("previous_until_s", sa.Double))
    op.add_column("api_keys", sa.Column("rotated_at_s", sa.Double))
