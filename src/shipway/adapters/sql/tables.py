"""The tables, in types that SQLite and Postgres share; `versions/` creates them."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite gives out row ids for columns of exactly this type only.
Position = BigInteger().with_variant(Integer(), "sqlite")

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Position, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", JSON, nullable=False),
    Column("prev", Text, nullable=False),
    Column("digest", Text, nullable=False),
    # Taken out of `details`, so that the database itself refuses an action's second entry.
    Column("action_id", Text),
    Index(None, "action_id", unique=True),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("environment", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("environment", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("dead_man_tripped", Boolean, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("renewed_at_s", Double, nullable=False),
    Column("ttl_s", Double, nullable=False),
    Column("beat", BigInteger, nullable=False),
)

records = Table(
    "records",
    metadata,
    Column("position", Position, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at_s", Double, nullable=False, index=True),
    Column("environment", Text, nullable=False),
    Column("rollout", Text),
    Column("route", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("conversation", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("is_candidate", Boolean, nullable=False),
    Column("body", JSON, nullable=False),
    Index(None, "environment", "rollout", "position"),
    # A position is a reader's cursor: it must never be given out twice, not even after old rows were pruned.
    sqlite_autoincrement=True,
)

spool_marks = Table(
    "spool_marks",
    metadata,
    Column("file", Text, primary_key=True),
    Column("offset", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("routes", JSON, nullable=False),
    Column("expires_at_s", Double),
    Column("created_at_s", Double, nullable=False),
    Column("revoked_at_s", Double),
    Column("previous_sha256", Text, nullable=False, server_default=""),
    Column("previous_until_s", Double),
    Column("rotated_at_s", Double),
)

documents = Table(
    "documents",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created", BigInteger, nullable=False),
    Index(None, "kind", "created"),
)
