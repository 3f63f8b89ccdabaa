"""Pools of recorded answers of the example's prompts, and gate decisions on arms drawn from them.

    python benchmarks/gate_pools.py v1 --samples 40     # records; goes on where it stopped
    python benchmarks/gate_pools.py --pack              # writes the .jsonl.gz files and their digests

Answers are sampled at temperature 0.7 with a seed of their own each: repeats at temperature 0 are copies and prove
nothing. `study_gates.py` reads the packed pools.
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shipway.core.ids import TenantId
from shipway.core.principal import Principal
from shipway.core.verdicts import Verdict, combined
from shipway.evals.dataset import load_dataset
from shipway.evals.gate_spec import GateSpec
from shipway.evals.gates import GateOptions, gate_rows
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case, Dataset
from shipway.evals.scores import ScoreTable

Scores = npt.NDArray[np.float64]
POOLS = Path(__file__).parent / "pools"
RECORDED = Path(__file__).parent.parent / ".bench" / "pools"
"""Where rows are appended while they are recorded; not committed."""
SUMS = "SHA256SUMS"
METRIC_NAMES = ("supported", "correct")
CASES = 80
TEMPERATURE = 0.7
# Far from one another, so that no two pools share a seed.
_FIRST_SEED: Mapping[str, int] = {"v1": 100_000, "v2": 200_000, "v3": 300_000}


@dataclass(frozen=True, slots=True)
class AnswerPool:
    """Scores of one prompt: `(n_cases, samples)` by metric, NaN where the metric does not apply."""

    cases: tuple[Case, ...]
    scores: Mapping[str, Scores]

    @property
    def samples(self) -> int:
        """How many samples every case has."""
        return int(next(iter(self.scores.values())).shape[1])


@dataclass(slots=True)
class Decisions:
    """Verdicts on arms that were drawn; `discordant` are those in which a gate saw any difference."""

    decisions: int = 0
    discordant: int = 0
    fail: int = 0
    passed: int = 0
    inconclusive: int = 0


def chosen_cases(dataset: Dataset) -> tuple[Case, ...]:
    """Return the test cases that are recorded: the answerable ones first, in the order of their ids."""
    judged = [case for case in dataset.cases if case.split == "test"]
    return tuple(sorted(judged, key=lambda case: (case.unanswerable, case.id))[:CASES])


def read_pool(path: Path, cases: Sequence[Case]) -> AnswerPool:
    """Read a packed pool after comparing it with its committed digest.

    Raises:
        ValueError: another digest, an unknown case, a sample twice or a case with fewer samples than others.
    """
    data = path.read_bytes()
    expected = _sums(path.parent).get(path.name)
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{path.name} has digest {found}, but {SUMS} says {expected}; record and pack it again")
    rows = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    places = {case.id: place for place, case in enumerate(cases)}
    samples = 1 + max(row["sample"] for row in rows)
    seen = np.zeros((len(cases), samples), dtype=np.bool_)
    scores = {name: np.full(seen.shape, np.nan) for name in METRIC_NAMES}
    for row in rows:
        place = places[row["case"]], row["sample"]
        if seen[place]:
            raise ValueError(f"{path.name}: case {row['case']} has sample {row['sample']} twice")
        seen[place] = True
        for name in METRIC_NAMES:
            scores[name][place] = np.nan if row[name] is None else row[name]
    if not seen.all():
        case = cases[int(np.argwhere(~seen)[0][0])]
        raise ValueError(f"{path.name}: case {case.id} lacks samples; go on recording")
    return AnswerPool(tuple(cases), scores)


def pack(folder: Path, into: Path) -> list[str]:
    """Compress recorded files so that equal rows give equal bytes; return the lines of the digests."""
    lines = []
    for path in sorted(folder.glob("*.jsonl")):
        rows = sorted(_rows(path), key=lambda row: (row["case"], row["sample"]))
        text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
        packed = into / f"{path.name}.gz"
        packed.write_bytes(gzip.compress(text.encode(), mtime=0))
        lines.append(f"{hashlib.sha256(packed.read_bytes()).hexdigest()}  {packed.name}")
    (into / SUMS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return lines


def arms(pool: AnswerPool, repeats: int, rng: np.random.Generator, other: AnswerPool | None = None) -> list[AnswerPool]:
    """Draw a candidate and a baseline of so many repeats: from one pool without a shared sample, else one from each."""
    order = rng.random((len(pool.cases), pool.samples)).argsort(axis=1)
    if other is None:
        return [_drawn(pool, order[:, :repeats]), _drawn(pool, order[:, repeats : 2 * repeats])]
    again = rng.random((len(other.cases), other.samples)).argsort(axis=1)
    return [_drawn(pool, order[:, :repeats]), _drawn(other, again[:, :repeats])]


def decide(
    specs: Sequence[GateSpec],
    pools: tuple[AnswerPool, AnswerPool | None],
    repeats: int,
    decisions: int,
    seed: int,
) -> Decisions:
    """Judge candidate and baseline drawn from the pools again and again; one pool alone makes A/A decisions."""
    rng = np.random.Generator(np.random.Philox(seed))
    options = GateOptions(permutations=1_000, metrics=METRICS)
    tally = Decisions()
    dataset = Dataset("pool", pools[0].cases)
    for decision in range(decisions):
        new, old = arms(pools[0], repeats, rng, pools[1])
        rows = gate_rows(specs, dataset, (_table(new), _table(old)), replace(options, seed=decision))
        verdict = combined(row.verdict for row in rows if row.verdict is not None)
        tally.decisions += 1
        tally.discordant += any(bool((_settled(new, name) != _settled(old, name)).any()) for name in METRIC_NAMES)
        tally.fail += verdict is Verdict.FAIL
        tally.passed += verdict is Verdict.PASS
        tally.inconclusive += verdict is Verdict.INCONCLUSIVE
    return tally


def _settled(pool: AnswerPool, name: str) -> Scores:
    scores = pool.scores[name]
    sums: Scores = np.where(np.isfinite(scores), scores, 0.0).sum(axis=1)
    return sums


def _drawn(pool: AnswerPool, chosen: npt.NDArray[np.intp]) -> AnswerPool:
    return AnswerPool(
        pool.cases, {name: np.take_along_axis(values, chosen, axis=1) for name, values in pool.scores.items()}
    )


def _table(pool: AnswerPool) -> ScoreTable:
    missing = {name: np.zeros(values.shape, dtype=np.bool_) for name, values in pool.scores.items()}
    reasons: dict[str, dict[tuple[int, int], str]] = {name: {} for name in pool.scores}
    return ScoreTable(tuple(case.id for case in pool.cases), pool.samples, pool.scores, missing, reasons)


def _sums(folder: Path) -> dict[str, str]:
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole rows of a file that is being recorded; a line that a stop tore is recorded again."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def _mended(path: Path) -> set[tuple[str, int]]:
    """Cut a torn last line off and return what is recorded."""
    rows = list(_rows(path))
    if path.exists():
        data = path.read_bytes()
        path.write_bytes(data[: data.rfind(b"\n") + 1])
    return {(row["case"], row["sample"]) for row in rows}


async def record(version: str, samples: int, folder: Path) -> None:
    """Ask the embedded model for what is not recorded yet, sample by sample over all cases."""
    # Only recording needs the engine and the index; the study reads what is recorded.
    import study_answers  # noqa: PLC0415
    from helpdesk import CASES as FILE  # noqa: PLC0415
    from helpdesk import EXAMPLE  # noqa: PLC0415

    path = folder / f"helpdesk-{version}.jsonl"
    done = _mended(path)
    cases = chosen_cases(await load_dataset(FILE))
    with tempfile.TemporaryDirectory() as directory:
        bench = await study_answers.open_bench(Path(directory))
        prompt = EXAMPLE / "prompts" / f"answer.{version}.yaml"
        async with study_answers.engine() as generator:
            for sample in range(samples):
                seed = _FIRST_SEED[version] + sample
                sampled = {**bench.settings, "decoding": {"temperature": TEMPERATURE, "seed": seed}}
                answerer = replace(bench, settings=sampled).answerer(generator, prompt)
                left = [case for case in cases if (case.id, sample) not in done]
                with path.open("a", encoding="utf-8") as file:
                    async for row in _answers(answerer, left, bench.context):
                        file.write(json.dumps({**row, "sample": sample, "seed": seed}, ensure_ascii=False) + "\n")
                        file.flush()
                print(f"{version}: {sample + 1} of {samples} samples", flush=True)


async def _answers(answerer: Any, cases: Iterable[Case], context: Any) -> Any:
    from shipway.services.evaluation_targets import output_of  # noqa: PLC0415 - see record

    for case in cases:
        answer = await answerer.answer(case.question, Principal(TenantId(case.tenant), frozenset(case.groups), "pool"))
        output = output_of(answer, latency_ms=0.0)
        scores = {
            name: METRICS[name].compute(case, output, context) if METRICS[name].applies(case) else None
            for name in METRIC_NAMES
        }
        yield {"case": case.id, "text": answer.model_text, **scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", nargs="?", choices=sorted(_FIRST_SEED))
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--pack", action="store_true")
    given = parser.parse_args()
    for folder in (POOLS, RECORDED):
        folder.mkdir(parents=True, exist_ok=True)
    if given.version:
        asyncio.run(record(given.version, given.samples, RECORDED))
    if given.pack:
        print("\n".join(pack(RECORDED, POOLS)))


if __name__ == "__main__":
    main()
