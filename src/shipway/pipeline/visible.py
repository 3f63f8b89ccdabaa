"""What a stage's command gets to see: few variables of the environment, and the results of the stages it depends on."""

import json
from collections.abc import Mapping
from typing import Any

from shipway.config.pipeline_checks import variable_part
from shipway.core.errors import UsageError
from shipway.pipeline.model import StageResult
from shipway.pipeline.spec import StageSpec

ALWAYS_VISIBLE = ("PATH", "HOME", "LANG", "TMPDIR")
# Linux refuses a single variable of 128 KiB; whatever is longer than this is read from the results file.
LONGEST_VALUE = 32_768
LARGEST_OUTPUT_BYTES = 1_000_000


def visible_environment(
    stage: StageSpec, environ: Mapping[str, str], results: Mapping[str, StageResult]
) -> dict[str, str]:
    """Return the variables of a stage's command, without those that name its files.

    Raises:
        UsageError: two results would be one variable.
    """
    declared = dict.fromkeys((*ALWAYS_VISIBLE, *stage.env))
    visible = {name: environ[name] for name in declared if name in environ}
    return visible | {"SHIPWAY_STAGE": stage.name} | result_variables(results)


def result_variables(results: Mapping[str, StageResult]) -> dict[str, str]:
    """Return `SHIPWAY_STAGE_<NAME>_<KEY>` for every text, number and truth value among the outputs.

    Lists, objects, and texts that no variable can hold stand in the results file alone.

    Raises:
        UsageError: two results would be one variable.
    """
    origins: dict[str, str] = {}
    variables: dict[str, str] = {}
    for stage, result in results.items():
        for key, value in result.outputs.items():
            text = _as_text(value)
            if text is None:
                continue
            variable = f"SHIPWAY_STAGE_{variable_part(stage)}_{variable_part(key)}"
            origin = f"{key!r} of stage {stage!r}"
            if variable in variables:
                raise UsageError(
                    f"{origins[variable]} and {origin} would both be {variable}", hint="rename one of the results"
                )
            origins[variable], variables[variable] = origin, text
    return variables


def results_document(results: Mapping[str, StageResult]) -> str:
    """Return the JSON text of the file that `SHIPWAY_RESULTS` names: by stage its state, verdict and outputs."""
    document = {
        name: {
            "state": result.state.value,
            "verdict": result.verdict.value,
            "exit_code": result.exit_code,
            "attempts": result.attempts,
            "duration_s": round(result.duration_s, 3),
            "outputs": dict(result.outputs),
        }
        for name, result in results.items()
    }
    return json.dumps(document, ensure_ascii=False)


def parse_outputs(data: bytes) -> dict[str, Any]:
    """Return the results that a stage wrote to `SHIPWAY_OUTPUT`; nothing written is no results.

    Raises:
        UsageError: too long, not JSON, or not an object.
    """
    if len(data) > LARGEST_OUTPUT_BYTES:
        raise UsageError(
            f"SHIPWAY_OUTPUT holds {len(data)} bytes; {LARGEST_OUTPUT_BYTES} are allowed: write paths, not data"
        )
    if not data.strip():
        return {}
    try:
        found = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"SHIPWAY_OUTPUT does not hold JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"SHIPWAY_OUTPUT holds a {type(found).__name__}; write one object of names and values")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _as_text(value: Any) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if len(value.encode(errors="replace")) <= LONGEST_VALUE and "\0" not in value:
            return value
        case _:
            return None
