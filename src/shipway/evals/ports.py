"""What the runner asks of whatever is evaluated.

Above: `runner`. Below: adapters for a release of this project, an HTTP endpoint or a Python function, and the tests'
fakes.
"""

from typing import Protocol

from shipway.evals.model import Case, Output


class Target(Protocol):
    """Something that answers cases."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def digest(self) -> str:
        """The content it stands for: a release id, or the digest of an endpoint's configuration."""
        ...

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Answer one case; never from a cache shared between repeats.

        An exception becomes an error on that one output.
        """
        ...
