"""What decides the result of a stage, item by item, and the digest of it, its key. `memory` and `explain` ask."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shipway.pipeline.model import StageResult
from shipway.pipeline.spec import StageSpec

KEY_SCHEMA = 1
INPUT_PART = "input "
"""How the names of the parts begin that input files decide."""
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found around a stage when its turn came."""

    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The digests of its input files by path."""
    needs: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The lineages of the stages that it needs."""
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The values of the declared variables that are set."""
    tools: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What tools and the command's program are: versions and digests."""


def key_parts(stage: StageSpec, found: Surroundings) -> dict[str, str]:
    """Return everything that decides the result, in words and digests by name; values of variables stay hidden."""
    parts = {"schema": str(KEY_SCHEMA)}
    for name, value in _definition(stage).items():
        if value not in (None, "", (), {}, []):
            parts[f"setting {name}"] = json.dumps(value, ensure_ascii=False, sort_keys=True)
    parts |= {f"{INPUT_PART}{path}": digest for path, digest in found.files.items()}
    parts |= {need_part(name): lineage for name, lineage in found.needs.items()}
    for name in sorted({*stage.env, "LANG"}):
        value = found.variables.get(name)
        parts[f"variable {name}"] = "not set" if value is None else _digest(value)
    parts |= {f"tool {name}": said for name, said in found.tools.items()}
    return parts


def need_part(stage: str) -> str:
    """Return the name of the part that a needed stage decides."""
    return f"needed stage {stage}"


def stage_key(parts: Mapping[str, str]) -> str:
    """Return the digest of a key's parts."""
    return _digest(json.dumps(dict(parts), ensure_ascii=True, sort_keys=True, separators=(",", ":")))


def lineage_of(result: StageResult, needs: Mapping[str, str]) -> str:
    """Return the digest of what a stage hands on, and of what it builds on, which those after it see as well.

    Times and attempts are no part of it: a stage that was run again and made the same is the same.
    """
    handed_on = {
        "state": result.state.value,
        "verdict": result.verdict.value,
        "outputs": result.outputs,
        "files": result.files,
        "needs": needs,
    }
    return _digest(json.dumps(handed_on, ensure_ascii=True, sort_keys=True, separators=(",", ":"), default=str))


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield in words what differs between the parts of two keys."""
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if old is None:
            yield f"{name} is new"
        elif new is None:
            yield f"{name} is gone"
        elif _is_digest(old) or _is_digest(new):
            yield f"{name} changed"
        else:
            yield f"{name} changed from {_short(old)} to {_short(new)}"


def _definition(stage: StageSpec) -> dict[str, Any]:
    """Return the settings that decide a result; how long, how often and on what machine it runs do not."""
    return {
        "run": stage.run,
        "uses": stage.uses,
        "entry": stage.entry,
        "with": dict(stage.with_),
        "inputs": stage.inputs,
        "outputs": stage.outputs,
        "metrics": stage.metrics,
        "gate": [asdict(limit) for limit in stage.gate],
        "report": stage.report,
        "image": stage.image,
    }


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _is_digest(text: str) -> bool:
    return text.startswith("sha256:")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else line[: _LONGEST_SHOWN - 1] + "…"
