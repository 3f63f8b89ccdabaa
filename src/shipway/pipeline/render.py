"""A run for people: lines of text, without colours or a terminal. The CLI prints them."""

from collections.abc import Iterator

from shipway.pipeline.model import RunReport, StageEvent, StageResult, StageState

_TAIL_LINES = 20
_LONGEST_NOTE = 100
_HEADER = ("stage", "state", "verdict", "time", "attempts", "note")
_ORIGINS = {"": "", "cache": "from cache"}
_MINUTE_S = 60
_HOUR_S = 3600


def progress_line(event: StageEvent) -> str:
    """Return the line for a stage that changed its state."""
    if event.result is None:
        again = f" (attempt {event.attempt}: {_one_line(event.problem)})" if event.attempt > 1 else ""
        return f"{event.state.value:<9}  {event.stage}{again}"
    time = f"  {duration(event.result.duration_s)}" if event.result.attempts else ""
    note = f"  {note_of(event.result)}" if note_of(event.result) else ""
    return f"{event.state.value:<9}  {event.stage}{time}{note}"


def summary_lines(report: RunReport) -> list[str]:
    """Return the table of stages, the end of what failed stages printed, and the run's verdict."""
    rows = [_HEADER, *(_row(result) for result in report.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for result in report.results:
        lines += _tail(result)
    notes = [f"{result.name}: {plain(note)}" for result in report.results for note in result.notes]
    lines += ["", *notes] if notes else []
    counts = ", ".join(f"{count} {state.value}" for state, count in _counts(report))
    return [*lines, "", f"run {report.run_id}: {report.verdict.value} in {duration(report.duration_s)} ({counts})"]


def duration(seconds: float) -> str:
    """Return a time as people write it: `0.4 s`, `2 m 05 s`, `1 h 02 m`."""
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s"
    whole = max(int(seconds), _MINUTE_S)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} m {whole % _MINUTE_S:02} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} m"


def _row(result: StageResult) -> tuple[str, ...]:
    ran = result.attempts > 0
    verdict = result.verdict.value if ran or result.known else "-"
    time = duration(result.duration_s) if ran else "-"
    return (result.name, result.state.value, verdict, time, str(result.attempts or "-"), note_of(result))


def note_of(result: StageResult) -> str:
    """Return in one line where a result is from, what it measured, or what went wrong."""
    if result.state is StageState.PASSED:
        numbers = ", ".join(f"{name} {value:g}" for name, value in result.metrics.items())
        again = f"attempt 1: {_one_line(result.retried[0])}" if result.retried else ""
        origin = _ORIGINS.get(result.known, f"from run {result.known}")
        return "; ".join(part for part in (origin, again, numbers) if part)[:_LONGEST_NOTE]
    allowed = "allowed: " if result.allowed and result.state is StageState.FAILED else ""
    return allowed + _one_line(result.problem)


def _tail(result: StageResult) -> Iterator[str]:
    lines = result.output_tail.splitlines()
    if result.state is not StageState.FAILED or not lines:
        return
    yield ""
    yield f"--- {result.name}: the last {min(len(lines), _TAIL_LINES)} lines it printed"
    yield from (plain(line) for line in lines[-_TAIL_LINES:])


def _counts(report: RunReport) -> Iterator[tuple[StageState, int]]:
    for state in StageState:
        count = sum(result.state is state for result in report.results)
        if count:
            yield state, count


def one_sentence(text: str) -> str:
    """Return the lines of a message as one: what failed and what to do next stay apart."""
    lines = [shown for line in text.splitlines() if (shown := " ".join(line.split()))]
    parted = [line if line[-1] in ".,;:" else f"{line};" for line in lines[:-1]]
    return " ".join((*parted, *lines[-1:]))


def _one_line(text: str) -> str:
    line = plain(one_sentence(text))
    return line if len(line) <= _LONGEST_NOTE else line[: _LONGEST_NOTE - 1] + "…"


def plain(text: str) -> str:
    """Return a line with what would steer a terminal replaced."""
    # What a stage prints must not steer the reader's terminal.
    return "".join(character if character.isprintable() else "\ufffd" for character in text.expandtabs(4))
