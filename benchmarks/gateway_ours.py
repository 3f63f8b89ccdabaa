"""Our gateway as a contender: a project with one chat route on the upstream, served as `shipway` itself starts it.

Each row is the same project with more switched on. A row that needs settings which this version does not have is left
out with a note; a setting that only widens a limit is left out in silence when the limit does not exist. One row is the
same code and project with the hot path compiled (`make compiled`), left out with a note where that was not built.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from gateway_load import Load, Upstream
from gateway_peers import Launch
from pydantic import BaseModel

from shipway import __version__
from shipway.config.project import Project

PROGRAM = [sys.executable, "-m", "shipway.entrypoints.cli.main"]
_ROOT = Path(__file__).resolve().parent.parent
_SOURCE, COMPILED = _ROOT / "src", _ROOT / ".bench" / "compiled"
MANY = 1_000_000_000
_COMMAND_S = 120

Settings = dict[str, Any]

# Nothing may be refused: 512 streams at once, hundreds of thousands of requests a minute.
_WIDE: Settings = {
    "rates": {"per_key_min": MANY, "per_ip_min": MANY},
    "server": {"max_active": 4096, "max_queued": 4096, "drain_s": 2.0},
}
# Request log lines are a row of their own.
_QUIET: Settings = {"logging": {"requests": False}}
_PRICE = {"input": 0.15, "cache_read": 0.05, "output": 0.6}
_SPEND = {"daily_usd": 1e6, "monthly_usd": 1e6, "key_daily_usd": 1e6, "key_monthly_usd": 1e6}
# Every limit is counted and none is reached; every rule is tried and none applies.
_POLICIES: Settings = {
    "models": {"up": {"price": _PRICE}, "spare": {"price": _PRICE}},
    "rates": {
        "per_tenant_min": MANY,
        "tokens_per_min": MANY,
        "tenant_tokens_per_min": MANY,
        "concurrent_per_key": 100_000,
        "concurrent_per_tenant": 100_000,
    },
    "budgets": _SPEND,
    "routing": {
        "rules": [{"route": "chat", "min_chars": 100_000, "to": "spare"}, {"tenant": "nobody", "to": "spare"}],
        "fallbacks": {"up": ["spare"]},
    },
}


def merged(left: Mapping[str, Any], right: Mapping[str, Any]) -> Settings:
    """Return settings with others over them."""
    result = dict(left)
    for name, value in right.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def known(settings: Mapping[str, Any], section: object) -> Settings:
    """Return of some settings those that a section has."""
    result: Settings = {}
    for name, value in settings.items():
        inside = _inside(section, name)
        if inside is not None:
            result[name] = known(value, inside) if isinstance(value, Mapping) else value
    return result


def unknown(settings: Mapping[str, Any], section: object, at: str = "") -> list[str]:
    """Return the paths of the settings that a section does not have."""
    result: list[str] = []
    for name, value in settings.items():
        inside = _inside(section, name)
        if inside is None:
            result.append(f"{at}{name}")
        elif isinstance(value, Mapping):
            result += unknown(value, inside, f"{at}{name}.")
    return result


def _traced(ratio: float) -> Settings:
    traces = {"exporter": "file", "ratio": ratio}
    return {"logging": {"requests": True}, "telemetry": {"traces": traces}}


def _inside(section: object, name: str) -> Any:
    """Return what a section's key holds, as a type; None when it has no such key."""
    if isinstance(section, type) and issubclass(section, BaseModel):
        found = section.model_fields.get(name)
        return found.annotation if found else None
    if get_origin(section) is dict:
        return get_args(section)[1]
    return next((inside for part in get_args(section) if (inside := _inside(part, name)) is not None), None)


def _is_same(left: Path, right: Path) -> bool:
    return left.is_file() and left.read_bytes() == right.read_bytes()


def _command(folder: Path, environ: Mapping[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [*PROGRAM, *arguments, "--json", "--project", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        cwd=folder,
        env={**os.environ, **environ},
    )
    if done.returncode:
        raise RuntimeError(f"shipway {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


@dataclass(frozen=True, slots=True)
class Ours:
    """One row of ours; `needs` are settings without which the row would say nothing.

    `package` is a folder whose `shipway` is run instead of this environment's.
    """

    name: str
    needs: Settings = field(default_factory=dict)
    wants: Settings = field(default_factory=dict)
    workers: int = 1
    package: Path | None = None

    def version(self) -> str:
        """Return the version of the code that runs."""
        return __version__

    def measures(self, load: Load) -> bool:
        """Return whether a load is put on this row; streams are about the whole, not about what each part adds."""
        return load.mode != "stream" or self.name in {"ours", "ours-compiled"}

    def missing(self) -> list[str]:
        """Return what this version does not have of the row's settings."""
        return unknown(self.needs, Project)

    def is_built(self) -> bool:
        """Return whether what the row runs is there, made of the source as it is now."""
        if self.package is None:
            return True
        built, source = self.package / "shipway", _SOURCE / "shipway"
        names = [path.relative_to(source) for path in source.rglob("*.py")]
        return (built / "compiled.txt").is_file() and all(_is_same(built / name, source / name) for name in names)

    def prepare(self, folder: Path, upstream: Upstream, port: int) -> Launch:
        """Write the project, make its release, deploy it, create a key."""
        settings = self._settings(upstream)
        (folder / "shipway.yaml").write_text(json.dumps(settings, indent=1), encoding="utf-8")  # JSON is YAML
        environ = {} if self.package is None else {"PYTHONPATH": str(self.package)}
        if self.package is not None:
            require_compiled(_command(folder, environ, "doctor"))
        release = _command(folder, environ, "release", "create")["release"]
        _command(folder, environ, "deploy", release, "--override-gate", "benchmark")
        key = _command(folder, environ, "key", "create", "--tenant", "benchmark")["secret"]
        serve: list[str | Path] = [*PROGRAM, "serve", "--project", folder, "--port", str(port)]
        argv = [[*serve, "--worker", str(number)] for number in range(self.workers)]
        return Launch(argv, environ, "chat", {"authorization": f"Bearer {key}"})

    def _settings(self, upstream: Upstream) -> Settings:
        model = {"engine": "openai", "model": "bench-model", "base_url": upstream.url, "max_ctx": 8192, "max_out": 1024}
        settings: Settings = {
            "app": "benchmark",
            "models": {"up": model, "spare": model},
            "routes": {"chat": {"kind": "chat", "model": "up"}},
            "server": {"workers": self.workers},
        }
        for more in (_WIDE, self.wants, self.needs):
            settings = merged(settings, known(more, Project))
        return settings


def require_compiled(findings: Sequence[Mapping[str, str]]) -> None:
    """Refuse to measure Python under the name of compiled code, as it would be with a build for another Python."""
    found = next(finding for finding in findings if finding["check"] == "hot path")
    if not found["message"].startswith("compiled"):
        raise RuntimeError(f"the hot path: {found['message']}; {found['fix']}")


ROWS: tuple[Ours, ...] = (
    Ours("ours-bare", needs=_QUIET),
    Ours("ours", wants=merged(_POLICIES, _QUIET)),
    Ours("ours-compiled", wants=merged(_POLICIES, _QUIET), package=COMPILED),
    Ours("ours-logs", needs={"logging": {"requests": True}}, wants=_POLICIES),
    Ours("ours-traces-1", needs=_traced(0.01), wants=_POLICIES),
    Ours("ours-traces-100", needs=_traced(1.0), wants=_POLICIES),
    Ours("ours-2-workers", wants=merged(_POLICIES, _QUIET), workers=2),
)
"""As little as possible; with policies (what the summary is about); those compiled; what is added; two workers."""
