"""Shipway: one release for an LLM application's code, prompts, models, data and policy."""

from importlib import import_module as _import_module

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shipway.testing import case as case


def __getattr__(name: str) -> object:
    """Load `shipway.case` when a test asks for it: every command imports this file."""
    if name != "case":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module("shipway.testing").case
