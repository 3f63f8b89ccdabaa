"""`server`: where the gateway listens, an environment's own business."""

from typing import Annotated

from pydantic import Field

from shipway.config.sections.section import Section


class Server(Section):
    """Where the gateway listens; an environment's own business."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 takes a free port at the first start and keeps it."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Gateway processes."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1_000_000
    """The largest request body; a larger one is refused."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds in which a client must have sent its request."""
    llm_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds in which an engine must have answered."""
    drain_s: Annotated[float, Field(ge=0)] = 30.0
    """Seconds that running requests get to end when the gateway stops."""
