"""What a repository has, as far as it decides the derived pipeline; `services.default_pipeline` looks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Repository:
    """What was found. A text names the file, folder or key that it was found in; empty where there is none."""

    app: str
    settings: tuple[str, ...] = ("shipway.yaml", "configs/**")
    """The files that the settings are from."""
    parts: tuple[str, ...] | None = ()
    """The files of code, prompts and models that a release is made of; None when some are outside the project."""
    embedded: bool = True
    """Whether the same release answers the same: its models run here, and nobody else has an opinion on answers."""
    python: str = ""
    """A file of Python."""
    ruff: str = ""
    """Where ruff is configured; so on for the other tools."""
    black: str = ""
    mypy: str = ""
    bandit: str = ""
    tests: str = ""
    """The folder of the tests; it has at least one file that pytest collects."""
    integration: str = ""
    """The folder of the tests that need servers beside them; not counted as `tests`."""
    redis: bool = False
    dataset: str = ""
    """The file with the cases that the release is judged on."""
    terms: str = ""
    """The same file, where cases demand terms of answers."""
    gates: frozenset[str] = frozenset()
    """Kinds of gates: limit, regression, safety."""
    recall_metric: str = ""
    """The metric of retrieval that a gate limits."""
    recall_min: float | None = None
    keyword_min: float | None = None
    """The least share of correct answers that a gate demands."""
    corpus: str = ""
    """The folder of the documents."""
    dockerfile: str = ""
    image: str = ""
    """Where the image belongs, without a tag."""
    registry: bool = False
    """Whether `image` names a registry to push to."""
    smoke: str = ""
    load_plan: str = ""
    chaos_plan: str = ""
    staging: str = ""
    """The settings of the environment staging."""
    strategy: str = "canary"
    """How the project's own plan rolls out."""
    contact: str = ""
    """The first contact that is a webhook: env:NAME or file:PATH."""
    branches: tuple[str, ...] = ("main",)
    """The branches whose pushes are deployed."""
