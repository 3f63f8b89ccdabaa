"""What is learnt of served requests after they were answered, and whether a worker still serves before a swap."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade(op: Operations) -> None:
    """Create the table of observations; workers say whether they are busy."""
    op.add_column("workers", sa.Column("busy", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "observations",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("rollout", sa.Text),
        sa.Column("body", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_observations"),
        sa.UniqueConstraint("id", name="uq_observations_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_observations_environment_rollout_position", "observations", ["environment", "rollout", "position"]
    )
    op.create_index("ix_observations_environment_kind_at_s", "observations", ["environment", "kind", "at_s"])
