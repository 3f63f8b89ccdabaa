"""Building the judge that a project names; evaluations and `shipway judge` open one here."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import anyio

from shipway.config.sections.judges import JudgeEntry
from shipway.config.sections.models import Price
from shipway.core.errors import ConfigError, NotFoundError
from shipway.evals.judgement import JudgeIdentity
from shipway.evals.labels import Anchor, parse_anchors
from shipway.evals.model import Case
from shipway.evals.ports import Judge
from shipway.evals.suggestions import did_you_mean
from shipway.rag.answer import Generator
from shipway.rag.ports import Embedder, Reranker
from shipway.services.application import Application
from shipway.services.judges.embedded import EmbeddedJudge
from shipway.services.judges.llm import LlmJudge, LlmSettings
from shipway.services.judges.purse import JudgePurse, MeteredGenerator
from shipway.services.project_dataset import whole_dataset


class JudgeParts(Protocol):
    """What judges are made of; the composition root has it."""

    async def embedder(self) -> Embedder:
        """Return the embedding model that `services.judges.embedded` names.

        Raises:
            NotFoundError: it is not installed.
        """
        ...

    async def reranker(self) -> Reranker:
        """Return the reranker that `services.judges.embedded` names.

        Raises:
            NotFoundError: it is not installed.
        """
        ...

    def generator(self, alias: str, timeout_s: float) -> AbstractAsyncContextManager[Generator]:
        """Open the model of an alias.

        Raises:
            UnavailableError: its engine does not run.
        """
        ...


@asynccontextmanager
async def build_judge(
    app: Application, name: str, parts: JudgeParts, purse: JudgePurse | None = None
) -> AsyncIterator[Judge]:
    """Open the judge of a name and close its connections again; `purse` holds its calls to a budget.

    Raises:
        NotFoundError: the project has no such judge, or a model is not installed.
        ConfigError: its rubric cannot be read.
        UnavailableError: its engine does not run.
    """
    entry = judge_entry(app, name)
    if entry.kind == "embedded":
        yield EmbeddedJudge(name, await parts.embedder(), await parts.reranker())
        return
    alias = entry.model or ""
    settings = await _llm_settings(app, name, entry)
    async with parts.generator(alias, entry.timeout_s) as generator:
        yield LlmJudge(name, generator if purse is None else MeteredGenerator(generator, purse), settings)


async def judge_identity(app: Application, name: str) -> JudgeIdentity:
    """Return who a judge of kind llm is, without asking its model.

    Raises:
        NotFoundError: the project has no such judge.
        ConfigError: its rubric cannot be read.
    """
    return (await _llm_settings(app, name, judge_entry(app, name))).identity(name)


async def rubric_of(app: Application, name: str, entry: JudgeEntry) -> str:
    """Return the rubric of a judge, "" without one.

    Raises:
        ConfigError: it cannot be read.
    """
    return "" if entry.rubric is None else (await _read(app, name, "rubric", entry.rubric)).decode("utf-8", "replace")


def judge_entry(app: Application, name: str) -> JudgeEntry:
    """Return the settings of a judge.

    Raises:
        NotFoundError: the project has no such judge.
    """
    judges = app.project.judges
    if name not in judges:
        known = did_you_mean(name, judges) if judges else "add one to `judges` in shipway.yaml"
        raise NotFoundError(f"the project has no judge {name!r}", hint=known)
    return judges[name]


async def project_anchors(app: Application, name: str) -> list[Anchor]:
    """Return the anchors of a judge; none when its settings name no file.

    Raises:
        ConfigError: the file cannot be read.
        DatasetError: everything that is wrong with it.
    """
    file = judge_entry(app, name).anchors
    if file is None:
        return []
    data = await _read(app, name, "anchors", file)
    return parse_anchors(data, file, await project_cases(app))


async def project_cases(app: Application) -> dict[str, Case]:
    """Return every case of the project's dataset, of any split: labels may be of those that gates never judge.

    Raises:
        DatasetError: everything that is wrong with it.
    """
    dataset = await whole_dataset(app.loaded)
    return {case.id: case for case in dataset.cases}


async def _llm_settings(app: Application, name: str, entry: JudgeEntry) -> LlmSettings:
    model = app.project.models[entry.model or ""]
    rubric = await rubric_of(app, name, entry)
    return LlmSettings(
        model=f"{model.engine}/{model.model}",
        repeats=entry.repeats,
        swap=entry.swap,
        temperature=entry.temperature,
        max_tokens=entry.max_tokens,
        rubric=rubric.strip(),
        price=None if model.price == Price() else model.price,
    )


async def _read(app: Application, name: str, key: str, file: str) -> bytes:
    try:
        return await anyio.Path(app.loaded.root / file).read_bytes()
    except OSError as error:
        place = app.loaded.nearest_place(("judges", name, key))
        problem = f"{place}: judges.{name}.{key}: {file}: cannot be read: {error.strerror or error}"
        raise ConfigError([problem], hint="write the file or correct the path") from error
