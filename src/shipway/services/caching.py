"""The calibration of the semantic cache: measured on the project's own questions, kept with what it depends on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio
import numpy as np
import orjson

from shipway.core.canonical import digest_json
from shipway.core.errors import DatasetError, UsageError
from shipway.core.ids import Digest
from shipway.evals.model import Case
from shipway.gateway.calibration import Calibration, Trials, calibrated
from shipway.gateway.semantic import QuestionEmbedder
from shipway.gateway.wording import may_match, wording_of
from shipway.services.application import Application
from shipway.services.project_dataset import whole_dataset

KIND = "cache_calibration"
_PAIR_FIELDS = {"a", "b", "same"}
_BATCH = 64
# The wording's rules are part of what was measured: with other rules it is another measurement.
_RULES = "wording/1"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions, and whether one answer is right for both."""

    a: str
    b: str
    same: bool


@dataclass(frozen=True, slots=True)
class Material:
    """What a calibration is made with: questions that all differ in their answers unless a pair says otherwise."""

    cases: tuple[Case, ...]
    pairs: tuple[Pair, ...] = field(default=())

    @property
    def digest(self) -> Digest:
        """Return the digest of the questions, their labels and the rules of the wording."""
        cases = sorted((_label(case), case.question) for case in self.cases)
        return digest_json({"rules": _RULES, "cases": cases, "pairs": [asdict(pair) for pair in self.pairs]})


async def calibrate_cache(app: Application, embedder: QuestionEmbedder) -> Calibration:
    """Measure, choose the threshold, and keep it for this environment; gateways take it when they start.

    Raises:
        UsageError: too few questions, or no threshold is good enough.
        DatasetError: what is wrong with the dataset or the pairs.
    """
    material = await material_of(app)
    found = calibrated(
        await measured(material, embedder),
        max_false_hit_rate=app.project.cache.max_false_hit_rate,
        embedder=embedder.digest,
        dataset=material.digest,
        at_s=app.clock.now_s(),
    )
    await app.state.documents.put(KIND, app.environment, found.to_dict())
    await app.audit("cache.calibrated", app.environment, threshold=found.threshold, bound=found.bound)
    return found


async def calibration_in_force(app: Application, embedder: QuestionEmbedder) -> tuple[Calibration | None, str]:
    """Return the calibration that holds now, or None and why there is none."""
    stored = await app.state.documents.get(KIND, app.environment)
    if stored is None:
        return None, "the semantic cache is not calibrated; run `shipway cache calibrate`"
    found = Calibration.from_dict(stored[0])
    try:
        material = await material_of(app)
    except (DatasetError, UsageError) as error:
        return None, f"the questions of the calibration cannot be read: {error.message}"
    reason = found.outdated_because(
        embedder=embedder.digest,
        dataset=material.digest,
        max_false_hit_rate=app.project.cache.max_false_hit_rate,
    )
    if reason:
        return None, f"the calibration does not hold any more: {reason}; run `shipway cache calibrate`"
    return found, ""


async def material_of(app: Application) -> Material:
    """Return the questions of the project's dataset and its labelled pairs."""
    root, settings = app.loaded.root, app.project
    dataset = await whole_dataset(app.loaded)
    if settings.cache.pairs is None:
        return Material(dataset.cases)
    path = root / settings.cache.pairs
    try:
        data = await anyio.Path(path).read_bytes()
    except OSError as error:
        raise DatasetError([f"{path}: cannot be read: {error.strerror}"]) from error
    return Material(dataset.cases, parse_pairs(data, settings.cache.pairs))


def parse_pairs(data: bytes, file: str) -> tuple[Pair, ...]:
    """Return the pairs of a JSON-lines file.

    Raises:
        DatasetError: everything that is wrong with it.
    """
    pairs: list[Pair] = []
    problems: list[str] = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value: Any = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.append(f"{file}:{number}: not JSON: {error}")
            continue
        if not isinstance(value, dict) or value.keys() != _PAIR_FIELDS or not isinstance(value["same"], bool):
            problems.append(f"{file}:{number}: needs exactly the texts a and b and same (true or false)")
        elif not all(isinstance(value[name], str) and value[name].strip() for name in ("a", "b")):
            problems.append(f"{file}:{number}: a and b must be texts that are not empty")
        else:
            pairs.append(Pair(value["a"], value["b"], value["same"]))
    if problems:
        raise DatasetError(problems)
    return tuple(pairs)


async def measured(material: Material, embedder: QuestionEmbedder) -> Trials:
    """Return the cosines of a material: one trial for each question, against every other with another answer."""
    pair_texts = [text for pair in material.pairs for text in (pair.a, pair.b)]
    texts = list(dict.fromkeys([*(case.question for case in material.cases), *pair_texts]))
    vectors = await _vectors(texts, embedder)
    place = {text: index for index, text in enumerate(texts)}
    wordings = [wording_of(text) for text in texts]
    cosines = vectors @ vectors.T
    worst: dict[int, float] = {place[case.question]: -1.0 for case in material.cases}

    def seen(one: int, other: int) -> float:
        return float(cosines[one, other]) if may_match(wordings[one], wordings[other]) else -1.0

    for index, case in enumerate(material.cases):
        for second in material.cases[index + 1 :]:
            one, other = place[case.question], place[second.question]
            if one == other or not _differ(case, second) or cosines[one, other] <= min(worst[one], worst[other]):
                continue
            found = seen(one, other)
            worst[one], worst[other] = max(worst[one], found), max(worst[other], found)
    right: list[float] = []
    for pair in material.pairs:
        one, other = place[pair.a], place[pair.b]
        if pair.same:
            right.append(seen(one, other))
        else:
            # One trial a pair: its second question may stand in many pairs and is not counted again for each.
            worst[one] = max(worst.get(one, -1.0), seen(one, other))
    return Trials(tuple(worst.values()), tuple(right))


async def _vectors(texts: Sequence[str], embedder: QuestionEmbedder) -> "np.ndarray[Any, Any]":
    parts = [await embedder.embed(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
    if not parts:
        raise UsageError("there are no questions to calibrate with", hint="write cases into evals.dataset")
    return np.concatenate(parts)


def _label(case: Case) -> str:
    return "\n".join((case.tenant, case.reference or "", *case.expected_sources, repr(case.must_contain)))


def _differ(one: Case, other: Case) -> bool:
    """Tell whether one answer cannot be right for both; tenants never meet, and a refusal suits all it is due to."""
    if one.tenant != other.tenant or (one.unanswerable and other.unanswerable):
        return False
    return _label(one) != _label(other)
