"""`redis`: where gateways on several hosts count together; an environment's own business."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section


class Redis(Section):
    """A Redis that gateways on several hosts share. Without it limits are exact over the workers of one host."""

    url: SecretRef
    """Where its address is: `{env: NAME}` or `{file: path}`; the address is `redis://` or `rediss://` and may hold a
    password."""
    on_loss: Literal["fail_closed", "local_share"] = "fail_closed"
    """While it is gone: refuse every request with 503, or let each worker give out its own share of each limit, and of
    a budget its share of what was left."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Hosts that share it; a worker's share is one part of `replicas` times `server.workers`."""
    timeout_s: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Seconds until a silent Redis counts as gone."""
