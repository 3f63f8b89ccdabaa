"""What tests in pytest are written with: `@shipway.case`, and how a test ends that is neither passed nor failed.

The plugin (`entrypoints.pytest_plugin`) reads the marks. Standard library alone: whoever decorates a test has loaded
nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])
MARK = "__shipway_case__"
"""The attribute of a test function that holds its mark."""


class NotMeasuredError(Exception):
    """Nothing can be said: the target or the judge did not answer, or was asked for what makes no sense."""


class InconclusiveError(Exception):
    """The answers neither show that it is right nor that it is wrong."""


@dataclass(frozen=True, slots=True)
class CaseMark:
    """What `@shipway.case` was given; empty means the project's dataset, every case, and no metric."""

    dataset: str = ""
    ids: tuple[str, ...] = ()
    metrics: tuple[tuple[str, float | None], ...] = ()
    repeats: int | None = None


def case(
    function: Test | None = None,
    /,
    *,
    dataset: str = "",
    id: str | Iterable[str] = (),  # noqa: A002 - the word of datasets
    metrics: str | Iterable[str] | Mapping[str, float | None] = (),
    repeats: int | None = None,
) -> Any:
    """Run a test once for each case of a dataset, or for the cases of these ids.

    The test gets `shipway_case`, and `shipway_answers` with an answer a repeat. With `metrics` the answers are scored
    when the test itself is done: all right passes, all wrong fails, and some of each is inconclusive. A metric that is
    not 0 or 1 takes a limit: `metrics={"ndcg_at_5": 0.8}`.

    Raises:
        ValueError: `repeats` below 1.
    """
    if repeats is not None and repeats < 1:
        raise ValueError(f"@shipway.case: repeats must be at least 1, got {repeats}")
    mark = CaseMark(dataset, (id,) if isinstance(id, str) else tuple(id), _limits(metrics), repeats)

    def decorate(test: Test) -> Test:
        setattr(test, MARK, mark)
        return test

    return decorate if function is None else decorate(function)


def _limits(
    metrics: str | Iterable[str] | Mapping[str, float | None],
) -> tuple[tuple[str, float | None], ...]:
    if isinstance(metrics, Mapping):
        return tuple(metrics.items())
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    return tuple((name, None) for name in names)
