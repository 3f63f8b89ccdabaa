"""The built-in stages that look at code: lint, format, types, security, complexity, docs, secrets, dependencies."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section
from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.quality"
_PYTHON = ("**/*.py", "**/*.pyi", "pyproject.toml", "setup.cfg")
_RUFF = (*_PYTHON, "**/ruff.toml", "**/.ruff.toml", "**/*.ipynb")
_LOCKS = ("requirements*.txt", "requirements/*.txt", "*.lock")
_INDEX = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "PIP_INDEX_URL", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")

Words = tuple[Annotated[str, Field(min_length=1)], ...]


class Checked(Section):
    """The options of a stage that runs one program over files."""

    paths: Words = (".",)
    """Files and folders, relative to the project's folder."""
    arguments: Words = ()
    """More arguments for the program."""
    max_findings: Annotated[int, Field(ge=0)] = 0
    """So many failures decide nothing: a limit for code that is being cleaned up."""


class Types(Checked):
    """The options of `types`."""

    paths: Words = ()
    """Files and folders; without any mypy takes those of its own settings."""


class Security(Checked):
    """The options of `security`."""

    exclude: Words = ("./tests", "./.venv", "./node_modules")
    """What is not looked at, as bandit's --exclude takes it."""
    fail_on: Literal["low", "medium", "high"] = "medium"
    """The least severe finding that fails; what is less severe is a warning."""


class Complexity(Checked):
    """The options of `complexity` and `radon`."""

    most: Annotated[int, Field(ge=1)] = 10
    """The most independent paths that a function may have."""
    exclude: Words = (".venv/*",)
    """What radon does not look at; ruff has its own settings."""


class Docs(Checked):
    """The options of `docs`."""

    select: Words = ("D1",)
    """The rules of pydocstyle, by ruff's names; D1 is whether there is a docstring."""
    exclude: Words = ("tests",)
    """Patterns of what is not looked at."""


class Interrogate(Checked):
    """The options of `interrogate`."""

    least_percent: Annotated[float, Field(ge=0, le=100)] = 80.0
    """How much must have a docstring."""


class Secrets(Section):
    """The options of `secrets`."""

    paths: Words = ()
    """Files and folders; without any, all files that git tracks."""
    exclude: Words = (r"(^|/)(\.(git|hypothesis|mypy_cache|pytest_cache|ruff_cache|shipway|venv)|node_modules)/",)
    """Regular expressions of paths that are not looked at."""
    all_files: bool = False
    """Look at files that git does not track as well."""
    max_findings: Annotated[int, Field(ge=0)] = 0
    """So many failures decide nothing."""


class Dependencies(Section):
    """The options of `dependencies`."""

    requirements: Words = ()
    """Files of requirements; without any, the packages that are installed beside pip-audit."""
    arguments: Words = ()
    """More arguments for pip-audit."""
    own: Words = ()
    """Packages that nobody else knows, so that they need not be looked up."""
    ignore: Words = ()
    """Vulnerabilities that are accepted, by any of their names; they stay in the report."""
    max_findings: Annotated[int, Field(ge=0)] = 0
    """So many failures decide nothing."""


class Infrastructure(Section):
    """The options of `infrastructure`."""

    yaml: Words = (".",)
    """What yamllint looks at; empty for nothing."""
    dockerfiles: Words = ("**/Dockerfile", "**/Dockerfile.*", "**/*.Dockerfile")
    """Patterns of what hadolint looks at."""
    charts: Words = ("**/Chart.yaml",)
    """Patterns of what tells a folder as a chart for helm."""
    manifests: Words = ()
    """Patterns of Kubernetes manifests for kubeconform."""
    terraform: Words = ("**/*.tf",)
    """Patterns of files whose folders terraform looks at."""
    arguments: Words = ()
    """More arguments for yamllint."""
    missing: Literal["warn", "fail"] = "warn"
    """What is not installed is said to be not checked; with `fail` the stage is an ERROR."""
    max_findings: Annotated[int, Field(ge=0)] = 0
    """So many failures decide nothing."""


STAGES = (
    Builtin("lint", f"{_WORK}:lint", "ruff check.", Checked, cacheable=True, inputs=_RUFF, tools=("ruff",)),
    Builtin(
        "format", f"{_WORK}:formatted", "ruff format --check.", Checked, cacheable=True, inputs=_RUFF, tools=("ruff",)
    ),
    Builtin(
        "black", f"{_WORK}:black_formatted", "black --check.", Checked, cacheable=True, inputs=_PYTHON, tools=("black",)
    ),
    Builtin(
        "types",
        f"{_WORK}:types",
        "mypy.",
        Types,
        cacheable=True,
        inputs=(*_PYTHON, *_LOCKS, "mypy.ini", ".mypy.ini"),
        tools=("mypy",),
    ),
    Builtin("security", f"{_WORK}:security", "bandit.", Security, cacheable=True, inputs=_PYTHON, tools=("bandit",)),
    Builtin(
        "complexity",
        f"{_WORK}:complexity",
        "Complexity of functions by ruff.",
        Complexity,
        cacheable=True,
        inputs=_RUFF,
        tools=("ruff",),
    ),
    Builtin(
        "radon",
        f"{_WORK}:radon_complexity",
        "Complexity of functions by radon.",
        Complexity,
        cacheable=True,
        inputs=_PYTHON,
        tools=("radon",),
    ),
    Builtin("docs", f"{_WORK}:docs", "Docstrings by ruff.", Docs, cacheable=True, inputs=_RUFF, tools=("ruff",)),
    Builtin(
        "interrogate",
        f"{_WORK}:interrogated",
        "How much has a docstring, by interrogate.",
        Interrogate,
        cacheable=True,
        inputs=_PYTHON,
        tools=("interrogate",),
    ),
    Builtin(
        "secrets",
        f"{_WORK}:secrets",
        "Keys and passwords in files by detect-secrets.",
        Secrets,
        cacheable=True,
        inputs=("**/*", "!reports/**"),
        tools=("detect-secrets",),
    ),
    # Not kept: what is known of vulnerabilities changes by itself.
    Builtin("dependencies", f"{_WORK}:dependencies", "Known vulnerabilities by pip-audit.", Dependencies, env=_INDEX),
    # Not kept: which of its programs are installed is not part of a key.
    Builtin(
        "infrastructure",
        f"{_WORK}:infrastructure",
        "YAML, Dockerfiles, charts, manifests, Terraform by their linters.",
        Infrastructure,
    ),
)
