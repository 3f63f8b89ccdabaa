"""`shipway gate`: what the gates can see, how often they would err, and what they found."""

from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.core.counting import counted
from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.failures import USAGE_EXIT_CODE, VERDICT_EXIT_CODES
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.wiring import opened
from shipway.evals.power import PowerRow
from shipway.evals.report import gate_lines
from shipway.evals.report_forms import as_json as report_as_json
from shipway.evals.simulate import Simulation, SimulationPlan, SimulationRow
from shipway.services.gate_check import gate_power
from shipway.services.gates import judged_again, judged_file, simulated_gates, stored_evaluation

group = command_group("Check, simulate and explain the gates that a release must pass.")
_DEFAULTS = SimulationPlan()


@group.command()
def check(
    looks: Annotated[
        int | None, typer.Option(min=1, max=5, help="Looks that share each gate's alpha; by default evals.looks.")
    ] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what each gate can see of the project's cases; exit code 2 when one can never decide."""
    del debug

    async def act() -> list[PowerRow]:
        async with opened(project) as app:
            return await gate_power(app, looks=looks)

    rows = anyio.run(act)
    refused = [row for row in rows if row.refused]
    emit({"gates": rows, "refused": len(refused)}, _power_lines(rows), as_json=as_json)
    raise typer.Exit(USAGE_EXIT_CODE if refused else 0)


@group.command()
def simulate(
    release: Annotated[str, typer.Argument(help="An evaluated release; the newest evaluation when left out.")] = "",
    decisions: Annotated[
        int, typer.Option(min=20, max=100_000, help="Decisions for each effect.")
    ] = _DEFAULTS.decisions,
    effect: Annotated[
        list[float] | None,
        typer.Option(min=0.0, max=1.0, help="A drop, such as 0.1 for ten points; 0 is always there."),
    ] = None,
    looks: Annotated[
        int | None, typer.Option(min=1, max=5, help="Looks that share each gate's alpha; by default evals.looks.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same figures.")] = 0,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show on the project's own answers how often the gates would block an unchanged release and a worse one."""
    del debug
    effects = _DEFAULTS.effects if effect is None else tuple(sorted({0.0, *effect}))

    async def act() -> Simulation:
        async with opened(project) as app:
            plan = SimulationPlan(decisions, seed, effects, looks or app.project.evals.looks)
            return await simulated_gates(app, release, plan)

    found = anyio.run(act)
    emit(_simulation_value(found), _simulation_lines(found, decisions), as_json=as_json)


@group.command()
def run(
    what: Annotated[str, typer.Argument(help="An evaluated release, or a file of stored runs.")],
    *,
    first_release: Annotated[bool, typer.Option(help="Of a file without a baseline: thresholds decide alone.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Judge answers that are there by the present gates; nothing is asked again.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA.
    """
    del debug

    async def act() -> Any:
        async with opened(project) as app:
            if await anyio.Path(what).is_dir():
                raise UsageError(
                    f"{what} is a folder, and this judges the stored evaluation of a release",
                    hint=f"the folder of a run is judged by `shipway eval rescore {what}`",
                )
            if await anyio.Path(what).is_file():
                return await judged_file(app, Path(what), LocalJudgeParts(app), first=first_release)
            return await judged_again(app, what, LocalJudgeParts(app))

    found = anyio.run(act)
    value = {"release": found.release, "evaluation": found.evaluation, **report_as_json(found.report)}
    emit(value, [f"{found.release} as evaluated in {found.evaluation}", *gate_lines(found.report)], as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[found.report.verdict])


@group.command()
def explain(
    evaluation: Annotated[str, typer.Argument(help="An evaluation's id, or an evaluated release.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say in words what each gate of a stored evaluation compared, and what would decide what it left open."""
    del debug

    async def act() -> dict[str, Any]:
        async with opened(project) as app:
            return await stored_evaluation(app, evaluation)

    found = anyio.run(act)
    emit(found["report"], _explained(found), as_json=as_json)


def _power_lines(rows: list[PowerRow]) -> list[str]:
    cells = [
        (
            row.gate,
            row.n,
            row.n_clusters,
            f"{row.level:.3g}",
            row.sees,
            row.basis or "-",
            "refused" if row.refused else "ok",
        )
        for row in rows
    ]
    lines = table(("gate", "cases", "clusters", "alpha", "can see", "variance", "written"), cells)
    for row in rows:
        if row.refused:
            where = f"{row.place}: " if row.place else ""
            lines += ["", f"{where}{row.gate}: {row.refused}", f"  {row.hint}"]
    return lines


def _simulation_lines(found: Simulation, decisions: int) -> list[str]:
    arms = f"the repeats of each case, split at random into two arms of {found.repeats}"
    lines = [f"{decisions} decisions for each effect, from {arms}"]
    if not found.discordant:
        lines.append(
            "the repeats of each case are copies: the arms never differed, so how often an unchanged release would be"
            " blocked was not tested"
        )
    cells = [
        (
            f"{row.effect:g}",
            row.gate,
            _rate(row, Verdict.FAIL),
            _rate(row, Verdict.PASS),
            _rate(row, Verdict.INCONCLUSIVE),
        )
        for row in found.rows
        if found.discordant or row.effect
    ]
    lines += ["", *table(("drop", "gate", "FAIL", "PASS", "INCONCLUSIVE"), cells)] if cells else []
    if not found.discordant:
        return lines
    return [*lines, "", f"the arms differed in {found.discordant} of {decisions} decisions without a drop"]


def _rate(row: SimulationRow, verdict: Verdict) -> str:
    low, high = row.interval(verdict)
    return f"{row.rate(verdict):.1%} ({low:.1%} to {high:.1%})"


def _simulation_value(found: Simulation) -> dict[str, Any]:
    verdicts = (Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE)
    return {
        "repeats": found.repeats,
        "discordant": found.discordant,
        "rows": [
            {
                "gate": row.gate,
                "effect": row.effect,
                "decisions": row.decisions,
                **{
                    verdict.value: {"rate": row.rate(verdict), "interval": row.interval(verdict)}
                    for verdict in verdicts
                },
            }
            for row in found.rows
        ],
    }


def _explained(found: dict[str, Any]) -> list[str]:
    against = found["baseline"] or "thresholds alone (first release)"
    lines = [f"{found['id']}: {found['release']} against {against}: {found['verdict']}"]
    for row in found["report"]["gates"]:
        lines += ["", f"{row['gate']}: {row['verdict'] or 'does not apply'}"]
        lines += [f"  {line}" for line in _facts(row)]
    return lines


def _facts(row: dict[str, Any]) -> list[str]:
    of = f"{counted(row['n'], 'case')} in {counted(row['n_clusters'], 'cluster')}"
    lines = [f"{of}; {row['missing']} of {row['expected']} scores missing"]
    if row["difference"] is not None:
        lines.append(f"mean {row['value']:.3f} against {row['baseline_value']:.3f}: change {row['difference']:+.3f}")
    elif row["value"] is not None:
        lines.append(f"mean {row['value']:.3f}")
    if row["bound"] is not None and row["limit"] is not None:
        lines.append(f"the bound {row['bound']:.3f} was compared with {row['limit']:.3f}")
    if row["adjusted_p"] is not None:
        lines.append(f"p {row['p_value']:.3g}, among the gates that compare {row['adjusted_p']:.3g}")
    # What follows is not in evaluations that were stored before gates had it.
    if row.get("mde") is not None:
        lines.append(f"such a run shows a change of {row['mde']:.3f} four times in five")
    lines += [row["message"]] if row["message"] else []
    return lines + ([f"why: {row['reason']}"] if row.get("reason") else [])
