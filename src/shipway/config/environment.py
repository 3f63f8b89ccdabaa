"""The process environment; the only place that reads it."""

import os
from collections.abc import Mapping


def process_environment() -> Mapping[str, str]:
    """Return the environment variables of this process."""
    return os.environ
