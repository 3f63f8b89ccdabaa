"""`shipway pipeline`: which commands it has; each is imported when it is called, so that a warm run stays short."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

_COMMANDS = "shipway.entrypoints.cli.commands"
COMMANDS: dict[str, tuple[str, str]] = {
    "run": (f"{_COMMANDS}.pipeline_run:run", "Run the stages; those with a known result not at all."),
    "list": (f"{_COMMANDS}.pipeline_show:list_stages", "List the stages in an order in which they can run."),
    "init": (f"{_COMMANDS}.pipeline_init:init", "Write the derived pipeline into shipway.yaml, to be changed."),
    "graph": (f"{_COMMANDS}.pipeline_show:graph", "Show what needs what, and the digest of the plan."),
    "explain": (f"{_COMMANDS}.pipeline_show:explain", "Say whether a stage would run now, and why."),
    "runs": (f"{_COMMANDS}.pipeline_runs:list_runs", "List the runs that are kept, or compare two."),
    "logs": (f"{_COMMANDS}.pipeline_runs:logs", "Show what a stage printed in its last run."),
    "report": (f"{_COMMANDS}.pipeline_report:report", "Fold what the stages found into one report."),
    "fix": (f"{_COMMANDS}.pipeline_fix:fix", "Mend what the stages for lint and format would find."),
    "changed": (f"{_COMMANDS}.pipeline_compile:changed_", "Say which parts of the release changed."),
    "compile": (f"{_COMMANDS}.pipeline_compile:compile_", "Write the pipeline for a CI system."),
    "run-stage": (f"{_COMMANDS}.pipeline_stage:run_stage", "Run one stage, as a job of a CI system does."),
    "serve": (f"{_COMMANDS}.pipeline_serve:serve", "Receive webhooks and run the pipeline for them."),
    "queue": (f"{_COMMANDS}.pipeline_serve:queue", "Show the runs that webhooks queued, or cancel one."),
    "clean": (f"{_COMMANDS}.pipeline_runs:clean", "Let go of old runs and of what the cache no longer uses."),
}


class _Loaded(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module_name, attribute = COMMANDS[name][0].split(":")
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=name)(getattr(importlib.import_module(module_name), attribute))
        command = get_command(single)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyPipeline(TyperGroup):
    """A group whose commands are imported when they are called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast("dict[str, Any]", _Loaded())

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order in which they are needed."""
        del ctx
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing one."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


group = typer.Typer(cls=LazyPipeline, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@group.callback()
def pipeline() -> None:
    """Run the stages from commit to production."""
