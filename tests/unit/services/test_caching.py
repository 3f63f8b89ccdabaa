from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.core.errors import DatasetError, UsageError
from shipway.evals.model import Case
from shipway.services.caching import (
    Material,
    Pair,
    calibrate_cache,
    calibration_in_force,
    material_of,
    measured,
    parse_pairs,
)

pytestmark = pytest.mark.anyio


class Embedder:
    """Gives every text the vector of its first word's letters; a text with `near` points almost where `base` does."""

    digest = "sha256:embedder"

    async def embed(self, texts: Any) -> Any:
        rows = []
        for number, text in enumerate(texts):
            angle = {"base": 0.0, "near": 0.2}.get(text.split()[0], 1.0 + number)
            rows.append((np.cos(angle), np.sin(angle)))
        return np.array(rows, np.float32)


PROJECT = """\
app: shop
models: {{small: {{engine: echo, model: echo}}}}
routes: {{chat: {{kind: chat, model: small}}}}
datasets: {{asked: {{path: cases.jsonl}}}}
evals: {{dataset: asked}}
cache: {{{cache}}}
"""


@dataclass
class App:
    """The parts of an application that a calibration uses."""

    root: Path
    state: MemoryStore = field(default_factory=MemoryStore)
    clock: ManualClock = field(default_factory=lambda: ManualClock(5.0))
    environment: str = "local"
    pairs: str | None = None
    rate: float = 0.05
    audited: list[str] = field(default_factory=list)

    @property
    def loaded(self) -> Any:
        pairs = f"pairs: {self.pairs}, " if self.pairs else ""
        text = PROJECT.format(cache=f"{pairs}max_false_hit_rate: {self.rate}")
        (self.root / "shipway.yaml").write_text(text)
        return load_project(self.root, {})

    @property
    def project(self) -> Any:
        return self.loaded.project

    async def audit(self, action: str, subject: str, **details: object) -> None:
        self.audited.append(action)


@pytest.fixture
def app(tmp_path: Path) -> App:
    lines = (f'{{"id": "c{n}", "question": "w{n} thing is asked x{n}?", "reference": "r{n}"}}' for n in range(80))
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    return App(tmp_path)


async def test_a_calibration_is_kept_audited_and_in_force(app):
    made = await calibrate_cache(app, Embedder())

    assert await calibration_in_force(app, Embedder()) == (made, "")
    assert made.questions == 80
    assert made.bound <= 0.05
    assert app.audited == ["cache.calibrated"]


async def test_without_a_calibration_the_reason_names_the_command(app):
    found, reason = await calibration_in_force(app, Embedder())
    assert found is None
    assert "shipway cache calibrate" in reason


async def test_a_new_question_a_new_model_or_a_stricter_rate_ends_it(app):
    await calibrate_cache(app, Embedder())
    other = Embedder()
    other.digest = "sha256:other"
    assert "embedding model" in (await calibration_in_force(app, other))[1]
    app.rate = 0.001
    assert "max_false_hit_rate" in (await calibration_in_force(app, Embedder()))[1]
    app.rate = 0.05
    with (app.root / "cases.jsonl").open("a") as file:
        file.write('\n{"id": "new", "question": "Another one?", "reference": "r"}')
    assert "questions" in (await calibration_in_force(app, Embedder()))[1]


async def test_a_dataset_that_is_gone_switches_it_off_instead_of_failing(app):
    await calibrate_cache(app, Embedder())
    (app.root / "cases.jsonl").unlink()
    found, reason = await calibration_in_force(app, Embedder())
    assert found is None
    assert "cannot be read" in reason


async def test_too_few_questions_keep_nothing(app):
    app.rate = 0.01
    with pytest.raises(UsageError, match="takes 299"):
        await calibrate_cache(app, Embedder())
    assert (await calibration_in_force(app, Embedder()))[0] is None


def case(number: int, question: str, **fields: Any) -> Case:
    return Case(f"c{number}", question, **{"reference": f"r{number}", **fields})


async def test_each_question_is_a_trial_against_the_nearest_with_another_answer():
    cases = (
        case(1, "base papers needed for a claim"),
        case(2, "near documents sent with refunds"),
        case(3, "far away"),
    )
    trials = await measured(Material(cases), Embedder())

    assert trials.wrong[0] == pytest.approx(np.cos(0.2), abs=1e-6)
    assert trials.wrong[1] == pytest.approx(np.cos(0.2), abs=1e-6)
    assert trials.right == ()


async def test_what_the_wording_parts_counts_as_no_wrong_answer():
    cases = (case(1, "base within 30 days"), case(2, "near within 45 days"))
    assert (await measured(Material(cases), Embedder())).wrong == (-1.0, -1.0)


@pytest.mark.parametrize(
    "second",
    [
        {"tenant": "rival"},
        {"reference": "r1"},
    ],
)
async def test_other_tenants_and_equal_answers_are_no_wrong_answer(second):
    cases = (case(1, "base papers needed for a claim"), case(2, "near documents sent with refunds", **second))
    assert (await measured(Material(cases), Embedder())).wrong == (-1.0, -1.0)


async def test_two_refusals_are_the_same_answer():
    cases = (
        case(1, "base papers needed for a claim", unanswerable=True),
        case(2, "near documents sent with refunds", unanswerable=True),
    )
    assert (await measured(Material(cases), Embedder())).wrong == (-1.0, -1.0)


async def test_pairs_add_trials_and_measure_the_hits():
    pairs = (
        Pair("base papers needed for a claim", "near documents sent with refunds", same=True),
        Pair("base within 30 days", "near within 45 days", same=True),
        Pair("base answers come from people", "near replies are by robots then", same=False),
    )
    trials = await measured(Material((), pairs), Embedder())

    assert trials.right == (pytest.approx(np.cos(0.2), abs=1e-6), -1.0)
    assert trials.wrong == (pytest.approx(np.cos(0.2), abs=1e-6),)


async def test_pairs_are_read_from_the_project(app):
    (app.root / "pairs.jsonl").write_text('{"a": "x", "b": "y", "same": true}\n\n')
    app.pairs = "pairs.jsonl"
    assert (await material_of(app)).pairs == (Pair("x", "y", same=True),)


def test_every_wrong_line_of_a_pairs_file_is_named():
    lines = b'{\n{"a": "x", "b": "y"}\n{"a": "x", "b": "y", "same": 1}\n{"a": "", "b": "y", "same": true}\n[]'
    with pytest.raises(DatasetError) as caught:
        parse_pairs(lines, "p.jsonl")
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [f"p.jsonl:{n}" for n in range(1, 6)]
