"""The collaborators of `shipway eval tool`: other people's tools in their environments, and the project's engines."""

from pathlib import Path

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.expectations import GreatExpectations
from shipway.adapters.evaluation_tools.tools import LocalTools
from shipway.config.environment import process_environment
from shipway.entrypoints.runtime_factory import LocalRuntimeFactory
from shipway.evals.tools.ports import Endpoint
from shipway.services.application import Application
from shipway.services.tool_runs import EngineOf


def tools_folder(app: Application) -> Path:
    """Return where a project's own tools are."""
    return app.workspace.home / "tools"


def local_tools(folder: Path) -> LocalTools:
    """Return the tools whose environments are in a folder."""
    return LocalTools(Environments(folder.resolve(), process_environment()))


def great_expectations(folder: Path) -> GreatExpectations:
    """Return the Great Expectations whose environment is in a folder."""
    return GreatExpectations(local_tools(folder).environments)


def address_keys() -> tuple[str, str]:
    """Return the keys for a target and a judge that are addresses, from the environment; empty without."""
    environ = process_environment()
    return environ.get("SHIPWAY_TARGET_KEY", ""), environ.get("SHIPWAY_JUDGE_KEY", "")


def engine_of(app: Application) -> EngineOf:
    """Return what finds the endpoint of a model alias: the engine that `up` started, or the one the project names."""
    factory = LocalRuntimeFactory(app)

    def found(alias: str) -> Endpoint:
        entry = app.project.models[alias]
        engine = factory.engine(alias, {"engine": entry.engine, "model": entry.model})
        return Endpoint(engine.base_url, engine.model, engine.api_key or "")

    return found
