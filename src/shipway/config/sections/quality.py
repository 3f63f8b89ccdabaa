"""`quality`: judging what users get, while they get it; an environment's own business."""

from typing import Annotated

from pydantic import Field

from shipway.config.sections.gates import Share
from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section


class Goldens(Section):
    """Known cases that are asked of a route again and again."""

    dataset: str
    """The cases: a file relative to the project file, or a name of `datasets`."""
    api_key: SecretRef
    """Where the key is that they are asked with: `{env: NAME}` or `{file: path}`; its tenant is the asker."""
    route: str | None = None
    """The route that is asked; by default `evals.route`, or the only one."""
    every_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Seconds between two turns."""
    cases: Annotated[int, Field(ge=1, le=100)] = 1
    """Cases asked in a turn, drawn by chance."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Seconds after which a case is an ERROR."""


class QualityRules(Section):
    """What must hold; a rule that is broken is an alert and an entry of the audit log."""

    min_pass: Share = 0.9
    """The share of goldens, and of sampled answers, that must pass."""
    min_safety: Share = 0.95
    """The share of safety checks that must pass: goldens with the tag `safety`."""
    pass_from: Share = 0.5
    """The judge's score from which a sampled answer passes."""
    window_s: Annotated[float, Field(ge=60, le=2_592_000)] = 86_400.0
    """Seconds that are looked at."""
    min_samples: Annotated[int, Field(ge=1)] = 30
    """Observations below which a rule says NO_DATA."""
    mean_run: Annotated[float, Field(ge=20, le=1_000_000)] = 1_000.0
    """Observations between two false alarms of a rule that just holds, on average at least."""


class Quality(Section):
    """Sampled answers that a judge scores, and goldens; off until `sample` or `goldens` is set."""

    sample: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of conversations whose answers are kept, masked, for the judge."""
    routes: tuple[str, ...] = ()
    """The chat and rag routes that are sampled; by default all."""
    keep: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Answers that each worker keeps; the oldest goes first."""
    judge: str = "embedded"
    """Who scores them: a name of `judges`, or `embedded`, which needs no entry there."""
    budget_tokens_per_day: Annotated[int, Field(ge=0)] = 200_000
    """Tokens that judging may take in a UTC day."""
    goldens: Goldens | None = None
    """Cases that are asked all the time."""
    rules: QualityRules = QualityRules()
    """What must hold."""
