"""Whether the project's judge is told what to judge by: asked with the gates, before an answer is paid for.

`gate_check` and `assertion_check` call this.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.config.sections.gates import Gate
from shipway.core.counting import counted
from shipway.core.errors import UsageError
from shipway.evals.judging import request_for
from shipway.evals.model import Dataset, Output
from shipway.evals.sample import MAX_MISSING_SHARE
from shipway.services.project_lines import tried

_METRIC = "judge:"


def demand_rubric(gate: Gate, project: Project, dataset: Dataset) -> None:
    """Refuse a gate on judgements by a rubric that more cases lack than a gate may miss.

    Raises:
        UsageError: neither the judge nor those cases have one.
    """
    name = project.evals.judge or ""
    judge = project.judges.get(name)
    if judge is None or judge.kind != "llm" or judge.rubric is not None or gate.metric != _METRIC + name:
        return
    judged = [case for case in dataset.cases if case.split == "test" and set(gate.tags) <= set(case.tags)]
    lacking = [case for case in judged if not request_for("rubric", case, Output()).rubric]
    if len(lacking) > MAX_MISSING_SHARE * len(judged):
        raise UsageError(
            f"{gate.metric} judges by a rubric, and {len(lacking)} of {counted(len(judged), 'case')} have none:"
            f" judges.{name} names no file, and they have no assertion of type llm-rubric",
            hint=f"write what a right answer shows into a file and name it: judges.{name}.rubric",
        )


def judge_file_problems(loaded: LoadedProject) -> Iterator[str]:
    """Yield a line for every file of a judge that cannot be read."""
    project, root = loaded.project, loaded.root
    for name, judge in project.judges.items():
        # `judge calibrate --write-anchors` writes them; a judge that evaluations do not ask may still lack them.
        anchors = judge.anchors if name == project.evals.judge else None
        for key, file in (("rubric", judge.rubric), ("anchors", anchors)):
            if file is not None:
                yield from tried(loaded, ("judges", name, key), partial(read_named, root, file))


def read_named(root: Path, file: str) -> bytes:
    """Return the bytes of a file that a setting names.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return (root / file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read: {error.strerror or error}", hint="write the file or correct the path"
        ) from error
