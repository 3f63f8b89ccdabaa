"""Two runs side by side: which stages came to something else, and which numbers moved. `pipeline runs` shows it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shipway.pipeline.model import StageResult
from shipway.pipeline.render import duration


@dataclass(frozen=True, slots=True)
class Compared:
    """A stage in two runs."""

    stage: str
    before: str
    now: str
    differences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def compared(before: Mapping[str, StageResult], now: Mapping[str, StageResult]) -> list[Compared]:
    """Return every stage of either run."""
    return [
        Compared(name, _state(before.get(name)), _state(now.get(name)), tuple(_moved(before.get(name), now.get(name))))
        for name in {**before, **now}
    ]


def _state(result: StageResult | None) -> str:
    if result is None:
        return "-"
    return f"{result.state.value} in {duration(result.duration_s)}" if result.attempts else result.state.value


def _moved(before: StageResult | None, now: StageResult | None) -> Iterator[str]:
    if before is None or now is None:
        return
    old, new = before.metrics, now.metrics
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"{name} {_number(old.get(name))} → {_number(new.get(name))}"
    files = sorted(path for path in {*before.files, *now.files} if before.files.get(path) != now.files.get(path))
    yield from (f"{path} differs" for path in files)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
