"""What makes two runs comparable: the digests a baseline is bound to. Gates and the evaluation service call this."""

from collections.abc import Collection, Iterable
from importlib import resources

from shipway.core.canonical import digest_bytes, digest_json
from shipway.core.errors import GateRefusedError
from shipway.core.ids import Digest
from shipway.core.verdicts import Verdict
from shipway.evals.model import Binding, Dataset

NO_JUDGE = digest_json(None)
"""The judge digest of a run without one."""

_METRIC_CODE = (
    ("shipway.core", "personal_data.py"),
    ("shipway.evals", "metrics.py"),
    ("shipway.evals", "metric_context.py"),
    ("shipway.evals", "metric_names.py"),
    ("shipway.evals", "generation.py"),
    ("shipway.evals", "repeats.py"),
    ("shipway.evals", "assertions.py"),
    ("shipway.evals", "assertion_types.py"),
    ("shipway.evals", "assertion_checks.py"),
    ("shipway.evals", "edit_distance.py"),
    ("shipway.evals", "json_schemas.py"),
    ("shipway.evals", "languages.py"),
    ("shipway.evals", "scoring.py"),
    ("shipway.evals", "text.py"),
    ("shipway.stats", "agents.py"),
    ("shipway.stats", "retrieval.py"),
)
_BOUND_TO = ("dataset", "corpus", "judge", "metrics")


def bind(dataset: Dataset, *, corpus: Digest, judge: Digest = NO_JUDGE, schemas: Digest | None = None) -> Binding:
    """Return the binding of a run that is scored by this version's metric code, and the schema files it reads."""
    code = metric_code_digest()
    metrics = code if schemas is None else digest_json([code, schemas])
    return Binding(dataset=dataset.digest, corpus=corpus, judge=judge, metrics=metrics)


def metric_code_digest() -> Digest:
    """Return the digest of the code that scores; comments, blank lines and line ends do not change it."""
    return source_digest(
        resources.files(package).joinpath(file).read_text(encoding="utf-8") for package, file in _METRIC_CODE
    )


def source_digest(sources: Iterable[str]) -> Digest:
    """Return the digest of Python sources without comment lines, blank lines and trailing white space.

    It must not depend on the Python version, hence lines and not a syntax tree.
    """
    kept = [
        [line.rstrip() for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        for source in sources
    ]
    return digest_bytes("\x00".join("\n".join(lines) for lines in kept).encode())


def comparable(a: Binding, b: Binding) -> list[str]:
    """Return what differs, one line a digest; empty when the runs can be compared."""
    return [f"{name}: {getattr(a, name)} against {getattr(b, name)}" for name in differing(a, b)]


def differing(a: Binding, b: Binding) -> list[str]:
    """Return the names of the digests that differ."""
    return [name for name in _BOUND_TO if getattr(a, name) != getattr(b, name)]


def demand_comparable(candidate: Binding, baseline: Binding, *, expected: Collection[str] = ()) -> None:
    """Refuse runs that measured different things.

    `expected` names digests whose difference is what is being evaluated: `corpus`, when the release changes the data.

    Raises:
        GateRefusedError: with verdict ERROR, naming every digest that differs.
    """
    wrong = [line for line in comparable(candidate, baseline) if line.partition(":")[0] not in expected]
    if wrong:
        raise GateRefusedError(
            Verdict.ERROR,
            "candidate and baseline are not comparable; " + "; ".join(wrong),
            hint="Rerun the baseline release on the same dataset, corpus and judge with this version.",
        )
