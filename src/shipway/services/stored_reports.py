"""Reports of evaluations that are in the store: the gates as they were judged, with the answers they were judged on."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio.to_thread

from shipway.core.disk import disk_error
from shipway.core.errors import NotFoundError, ShipwayError, UsageError
from shipway.core.ids import Digest
from shipway.evals.dataset import DatasetFile
from shipway.evals.gate_report import GateReport
from shipway.evals.model import Binding, CaseResult, Dataset, RunReport
from shipway.evals.report_json import gate_row_of, output_of, read_json_report
from shipway.evals.report_source import Places, ReportSource
from shipway.evals.run_directory import REPORT_FILE
from shipway.services.application import Application
from shipway.services.dataset_files import entry_named, form_of, read_dataset_file
from shipway.services.gates import gate_specs, stored_evaluation
from shipway.services.releases import verified_blob
from shipway.services.run_directories import find_run

_EVALUATION, _RUN = "eval_", "run_"


async def stored_report(app: Application, name: str) -> ReportSource:
    """Return the report of an evaluation by its id, of the newest one of a release, or of a run by its id.

    Raises:
        NotFoundError: there is none.
        UsageError: its cases are no longer in the project.
    """
    if name.startswith(_RUN):
        return await anyio.to_thread.run_sync(_report_of_run, app, name)
    try:
        found = await stored_evaluation(app, name)
    except NotFoundError as error:
        if not name.startswith(_EVALUATION):
            raise
        hint = "what was evaluated beside releases stays in the folder of its run: name the run, run_…"
        raise NotFoundError(f"no evaluation {name!r} is stored", hint=hint) from error
    data = await verified_blob(app, Digest(found["runs"]), f"evaluation {found['id']}")
    dataset, places = await _cases(app, found)
    return await anyio.to_thread.run_sync(_source, found, json.loads(data), dataset, places)


def gate_places(app: Application) -> dict[str, str]:
    """Return where each gate of the project was written, by its words."""
    specs = gate_specs(app.project)
    return {spec.label: str(app.loaded.nearest_place(("gates", index))) for index, spec in enumerate(specs)}


async def places_of(app: Application, dataset: Dataset, named: str = "") -> Places:
    """Return where gates and cases of a dataset were written; cases without a line where its file cannot be read."""
    async for file in _files(app, named):
        for found in _parts(file):
            if found.digest == dataset.digest:
                return Places({case.id: file.place(case.id) for case in dataset.cases}, gate_places(app))
    return Places(gates=gate_places(app))


def _report_of_run(app: Application, name: str) -> ReportSource:
    path = find_run(app, name) / REPORT_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"run {name} has no report: it was not finished", hint="go on with it: the same command with --resume"
        ) from error
    except OSError as error:
        raise disk_error(error, path, "cannot be read") from error
    return read_json_report(data, str(path))


async def _cases(app: Application, found: Mapping[str, Any]) -> tuple[Dataset, Places]:
    """Return the dataset that the evaluation was bound to: the project's own, or another that it names."""
    wanted = found["binding"]["dataset"]
    async for file in _files(app):
        for dataset in _parts(file):
            if dataset.digest == wanted:
                lines = {case.id: file.place(case.id) for case in dataset.cases}
                return dataset, Places(lines, gate_places(app))
    raise UsageError(
        f"the cases of evaluation {found['id']} are not in the project any more: none of its datasets has the digest "
        f"{wanted}",
        hint=f"name the JSON report that was written then, or evaluate again: `shipway eval run {found['release']}`",
    )


def _parts(file: DatasetFile) -> tuple[Dataset, ...]:
    return (file.dataset, file.dataset.only("test"), file.dataset.only("calibration"))


async def _files(app: Application, named: str = "") -> AsyncIterator[DatasetFile]:
    project = app.project
    for name in dict.fromkeys((named or project.evals.dataset, project.evals.dataset, *project.datasets)):
        entry = entry_named(app.loaded, name)
        shown = entry.path if entry else name
        try:
            yield await read_dataset_file(app.loaded.root / shown, shown, form_of(entry))
        except (OSError, ShipwayError):
            # One that cannot be read is not the one that was evaluated.
            continue


def _source(found: Mapping[str, Any], runs: Mapping[str, Any], dataset: Dataset, places: Places) -> ReportSource:
    reports = {name: _run(body, dataset) for name, body in runs.items()}
    gates = GateReport(tuple(gate_row_of(row) for row in found["report"]["gates"]), tuple(found["report"]["warnings"]))
    return ReportSource(
        found["id"],
        found["release"],
        found["baseline"],
        gates,
        reports["candidate"],
        reports.get("baseline"),
        found.get("run", ""),
        {name: value for name, value in found.get("usage", {}).items() if value is not None},
        places,
    )


def _run(body: Mapping[str, Any], dataset: Dataset) -> RunReport:
    results = tuple(
        CaseResult(row["case"], int(row["repeat"]), row["scores"], row["errors"], output_of(row["output"]))
        for row in body["results"]
    )
    return RunReport(
        body["target"],
        body["target_digest"],
        dataset,
        int(body["repeats"]),
        results,
        Binding(**body["binding"]),
        body.get("provenance", {}),
    )
