"""`server`: where the gateway listens, an environment's own business."""

import ipaddress
import re
from typing import Annotated

from pydantic import Field, field_validator

from shipway.config.sections.section import Section

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
"""Source: RFC 1123, section 2.1."""
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+")


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
    max_reply_bytes: Annotated[int, Field(ge=1024)] = 16_777_216
    """The largest answer of an engine that is passed on; a larger one ends with an error."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds in which a client must have sent its request."""
    llm_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds in which an engine must have answered in one piece."""
    stream_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a streamed answer may take as a whole; before, its first token and its pauses are bounded."""
    max_active: Annotated[int, Field(ge=1, le=100_000)] = 1024
    """Requests that one gateway process serves at the same time."""
    max_queued: Annotated[int, Field(ge=0, le=100_000)] = 1024
    """Requests that may wait for a place; those beyond are refused with 503."""
    park_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds that a request waits while a rollout exchanges its route's processes in place; 503 after that."""
    drain_s: Annotated[float, Field(ge=0)] = 30.0
    """Seconds that running requests get to end when the gateway stops."""

    @field_validator("host")
    @classmethod
    def _host_can_exist(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            if _DIGITS_AND_DOTS.fullmatch(value) or not _HOST_NAME.fullmatch(value):
                raise ValueError(
                    f"{value!r} is no IP address and no host name; write one such as 127.0.0.1 or 0.0.0.0"
                ) from None
        return value
