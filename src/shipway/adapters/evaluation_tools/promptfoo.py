"""Run a promptfoo configuration against one endpoint. Source: promptfoo 0.123.

The user's file is not changed: a copy is run whose providers are the target alone, and whose judges are the judge. It
runs in the folder of the user's file, so that what it names relative to itself is found.
"""

import json
from typing import Any

import anyio
import yaml

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.runs import found_report, ran
from shipway.core.errors import UsageError
from shipway.core.findings import FindingReport
from shipway.core.nesting import TOO_DEEP, too_deep
from shipway.evals.tools.ports import Endpoint, ToolRequest

_FAILED = 100
_OUT = "promptfoo.json"
_TESTS = frozenset({"tests", "scenarios", "assertionTemplates"})
_JUDGE_KEY = "SHIPWAY_JUDGE_KEY"
_TARGET_KEY = "SHIPWAY_TARGET_KEY"
_KIND = "a promptfoo configuration is a YAML or JSON file with prompts and tests"


async def run_promptfoo(environments: Environments, request: ToolRequest) -> FindingReport:
    """Return what promptfoo found; exit code 100 means failures or errors, which its file tells apart.

    Raises:
        NotFoundError: it is not installed.
        UsageError: the file is no configuration of promptfoo.
    """
    argv = environments.promptfoo()
    text = await anyio.Path(request.source).read_text(encoding="utf-8")
    config = rewritten(text, request)
    await anyio.Path(request.folder / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    argv += ["eval", "-c", str(request.folder / "promptfooconfig.json"), "-o", str(request.folder / _OUT)]
    argv += ["--no-cache", "--no-write", "--no-share", "--no-table", "--no-progress-bar"]
    argv += ["-j", str(request.concurrency), "--repeat", str(request.repeats)]
    keys = {
        _TARGET_KEY: request.target.api_key or "none",
        _JUDGE_KEY: request.judge.api_key or "none",
        "PROMPTFOO_CONFIG_DIR": str(request.folder / ".promptfoo"),
        "REQUEST_TIMEOUT_MS": str(int(request.case_timeout_s * 1000)),
        "PROMPTFOO_EVAL_TIMEOUT_MS": str(int(request.case_timeout_s * 1000)),
    }
    ended = await ran(environments, argv, request, keys, folder=request.source.resolve().parent)
    return await found_report("promptfoo", request.folder / _OUT, ended, fine=(0, _FAILED), request=request)


def rewritten(text: str, request: ToolRequest) -> dict[str, Any]:
    """Return a configuration that asks the target and nobody else.

    Raises:
        UsageError: the text is no configuration, or asks for what only another provider can do.
    """
    shown = request.source.name
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{shown}: not YAML: {error}", hint=_KIND) from error
    if too_deep(config):
        raise UsageError(f"{shown}: {TOO_DEEP}", hint=_KIND)
    if not isinstance(config, dict) or not (config.get("tests") or config.get("scenarios")):
        raise UsageError(f"{shown}: has no tests", hint=_KIND)
    target = _provider(request.target, _TARGET_KEY)
    kept = {name: value for name, value in config.items() if name not in {"providers", "targets", "sharing"}}
    defaults = kept.get("defaultTest") or {}
    if not isinstance(defaults, dict):
        raise UsageError(
            f"{shown}: defaultTest: {defaults!r} is read from another file", hint="write it into the configuration"
        )
    defaults = _without_providers(defaults)
    options = {**(defaults.get("options") or {}), "provider": _judges(request.judge)}
    return {
        **{name: _without_providers(value) if name in _TESTS else value for name, value in kept.items()},
        "prompts": kept.get("prompts") or ["{{question}}"],
        "providers": [target],
        "defaultTest": {**defaults, "options": options},
    }


def _without_providers(value: Any) -> Any:
    """Return tests without providers of their own: of a test, of its options, of an assertion. Variables stay."""
    if isinstance(value, list):
        return [_without_providers(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: item if name in {"vars", "metadata"} else _without_providers(item)
        for name, item in value.items()
        if name not in {"provider", "providers"}
    }


def _provider(endpoint: Endpoint, variable: str) -> dict[str, Any]:
    config: dict[str, Any] = {"apiBaseUrl": endpoint.base_url, "apiKeyEnvar": variable}
    if endpoint.max_tokens is not None:
        config["max_tokens"] = endpoint.max_tokens
    return {"id": f"openai:chat:{endpoint.model}", "config": config}


def _judges(judge: Endpoint) -> dict[str, Any]:
    embedding = {"id": f"openai:embedding:{judge.embedding_model or judge.model}"}
    return {
        "text": _provider(judge, _JUDGE_KEY),
        "embedding": {**embedding, "config": _provider(judge, _JUDGE_KEY)["config"]},
    }
