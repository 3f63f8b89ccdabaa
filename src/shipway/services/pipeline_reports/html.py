"""A run as one HTML file that asks the network for nothing, runs no script, and shows strangers' text as text."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import escape

from shipway.core.findings import Finding
from shipway.evals.report_html import POLICY, figure, table_html, text
from shipway.evals.report_style import STYLE
from shipway.pipeline.findings import RunFindings, StageFindings, kind_of
from shipway.pipeline.model import StageState

_MOST_ROWS = 2_000
_MESSAGE_CHARS = 2_000
_KINDS = ("ERROR", "FAIL", "NO_DATA", "INCONCLUSIVE", "warning", "open", "PASS")


def html(run: RunFindings, told: Callable[[StageFindings], str]) -> Iterator[str]:
    """Yield the report piece by piece."""
    verdict = run.verdict.value
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{verdict}: pipeline run {text(run.run.run_id)}</title><style>{STYLE}</style></head>\n<body>\n"
    )
    started_s = run.run.started_at_s
    begun = datetime.fromtimestamp(started_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC, ") if started_s else ""
    badge = f'<span class="badge v-{verdict}">{verdict}</span>'
    yield f"<h1>{badge} Pipeline run <code>{text(run.run.run_id)}</code></h1>\n"
    yield f'<p class="soft">{begun}{len(run.stages)} stages, {run.run.duration_s:.1f} s</p>\n'
    rows = [
        [f'<a href="#s{number}">{text(stage.result.name)}</a>', text(told(stage)), _numbers(stage)]
        for number, stage in enumerate(run.stages)
    ]
    yield table_html(["stage", "result", "numbers"], rows)
    for number, stage in enumerate(run.stages):
        yield from _stage(number, stage)
    yield "</body></html>\n"


def _stage(number: int, stage: StageFindings) -> Iterator[str]:
    result = stage.result
    said = result.verdict.value if result.state in {StageState.PASSED, StageState.FAILED} else "none"
    badge = f'<span class="badge v-{said}">{text(result.state.value)}</span>'
    yield f'<section id="s{number}"><h2>{badge} {text(result.name)}</h2>\n'
    if stage.report.tool_version:
        yield f'<p class="soft small">{text(stage.report.tool_version)}</p>\n'
    for problem in (*stage.report.problems, *([result.problem] if result.problem else [])):
        yield f'<p class="failure">{text(problem, _MESSAGE_CHARS)}</p>\n'
    shown = sorted(stage.report.findings, key=lambda finding: _KINDS.index(kind_of(finding)))
    if shown:
        yield table_html(["", "where", "what"], [_row(finding) for finding in shown[:_MOST_ROWS]])
    left = max(0, len(shown) - _MOST_ROWS) + stage.left_out
    if left:
        yield f'<p class="soft">{left} more findings are not in this file; the JSON report of the stage has them.</p>\n'
    yield "</section>\n"


def _row(finding: Finding) -> list[str]:
    kind = kind_of(finding)
    colour = "INCONCLUSIVE" if kind in {"warning", "open"} else finding.verdict.value
    badge = f'<span class="badge v-{colour}">{kind}</span>'
    what = f"<code>{text(finding.rule or finding.name)}</code> {text(finding.message or finding.name, _MESSAGE_CHARS)}"
    return [badge, text(finding.location), what]


def _numbers(stage: StageFindings) -> str:
    return text(", ".join(f"{name} {figure(value)}" for name, value in stage.result.metrics.items()))
