"""The root of the command line: which groups exist, and how an error leaves the process.

Groups are imported when they are called, so that `--help` and shell completion stay fast.
"""

import importlib
import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from shipway import __version__
from shipway.core.errors import NotFoundError, ShipwayError
from shipway.entrypoints.failures import (
    CLOSED_PIPE_EXIT_CODE,
    INTERRUPTED_EXIT_CODE,
    TERMINATED_EXIT_CODE,
    UNEXPECTED_EXIT_CODE,
    USAGE_EXIT_CODE,
    failure_of,
    interruption,
)

_COMMANDS = "shipway.entrypoints.cli.commands"
COMMANDS: dict[str, tuple[str, str]] = {
    "init": (f"{_COMMANDS}.init:init", "Write a project that runs: configuration, prompt, documents, eval cases."),
    "demo": (f"{_COMMANDS}.demo:demo", "Walk the whole main job on this machine, with a real model."),
    "up": (f"{_COMMANDS}.local:up", "Start engine, gateway and control on this machine."),
    "down": (f"{_COMMANDS}.local:down", "Stop what `up` started."),
    "restart": (f"{_COMMANDS}.restart:restart", "Replace the gateway's processes without losing a request."),
    "reload": (f"{_COMMANDS}.reload:reload", "Let the gateway obey the changed project file, without a restart."),
    "status": (f"{_COMMANDS}.local:status", "Show processes, releases and traffic."),
    "logs": (f"{_COMMANDS}.local:logs", "Show what the processes logged."),
    "key": (f"{_COMMANDS}.key:group", "Create, list and revoke API keys."),
    "limits": (f"{_COMMANDS}.limits:group", "Show and reset what callers have used of limits and budgets."),
    "models": (f"{_COMMANDS}.models:group", "Install and list the embedded models."),
    "rag": (f"{_COMMANDS}.rag:group", "Build the corpus and ask it."),
    "release": (f"{_COMMANDS}.release:group", "Create, list, show and compare releases."),
    "dataset": (f"{_COMMANDS}.dataset:group", "Check, compare, divide, import and register cases."),
    "judge": (f"{_COMMANDS}.judge:group", "Find out whether a judge can be believed."),
    "gate": (f"{_COMMANDS}.gate:group", "Check, simulate and explain the gates that a release must pass."),
    "eval": (f"{_COMMANDS}.evaluate:group", "Evaluate a release and gate it."),
    "deploy": (f"{_COMMANDS}.deploy:deploy", "Bring a release to an environment, gradually."),
    "replay": (f"{_COMMANDS}.replay:replay_", "Ask a release what users asked, before any user meets it."),
    "rollout": (f"{_COMMANDS}.rollout:group", "Watch and steer a rollout."),
    "rollback": (f"{_COMMANDS}.deploy:rollback", "Return to the release before, or to a named one."),
    "runbook": (f"{_COMMANDS}.runbook:runbook", "Write down what to do now, with this installation's commands."),
    "shadow": (f"{_COMMANDS}.shadow:group", "Copy requests to a release that no user sees."),
    "feedback": (f"{_COMMANDS}.feedback:group", "Read what users said about answers."),
    "quality": (f"{_COMMANDS}.quality:group", "See how good the answers are that users get."),
    "load": (f"{_COMMANDS}.load:load", "Ask as many users would, and judge how it held out."),
    "chaos": (f"{_COMMANDS}.chaos:chaos", "Break what runs here on purpose, and look what still holds."),
    "cache": (f"{_COMMANDS}.cache:group", "Calibrate the semantic cache."),
    "switch": (f"{_COMMANDS}.switch:group", "Kill, lock or limit routes, models and tools at once."),
    "flag": (f"{_COMMANDS}.flag:group", "Feature flags that choose models and prompts."),
    "pipeline": (f"{_COMMANDS}.pipeline:group", "Run the stages from commit to production."),
    "config": (f"{_COMMANDS}.config:group", "Check and explain the project file."),
    "doctor": (f"{_COMMANDS}.doctor:doctor", "Find what is wrong with this installation."),
    "readiness": (f"{_COMMANDS}.readiness:readiness", "See how far the app is from production, and what to do next."),
    "audit": (f"{_COMMANDS}.audit:group", "Read and verify the audit log."),
    "db": (f"{_COMMANDS}.database:group", "Upgrade, back up, restore and check the store."),
    "serve": (f"{_COMMANDS}.serve:serve", "Run the gateway in this process."),
    "control": (f"{_COMMANDS}.control:control", "Run the control plane in this process."),
    "engine": (f"{_COMMANDS}.engine:engine", "Run an embedded engine in this process."),
    "supervise": (f"{_COMMANDS}.supervise:supervise", "Run and restart the processes of `up` (what `up` detaches)."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of a release's life."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module_name, attribute = COMMANDS[cmd_name][0].split(":")
        found = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(name=cmd_name)(found)
            found = single
        command = get_command(found)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing one."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """Ship an LLM application: release, evaluate, gate, roll out, watch, roll back.

    Exit codes: 0 done or PASS, 1 FAIL, 2 usage or configuration, 3 ERROR, 4 INCONCLUSIVE or NO_DATA, 128+n on signal n.
    """
    if version:
        typer.echo(f"shipway {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with the code of `entrypoints/failures.py`."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    with _terminated_as_interrupted() as terminated:
        code = _run(arguments)
    if code == INTERRUPTED_EXIT_CODE:
        typer.echo(f"shipway: {interruption(arguments, terminated=terminated.is_set())}", err=True)
    return TERMINATED_EXIT_CODE if terminated.is_set() else code


@contextmanager
def _terminated_as_interrupted() -> Iterator[threading.Event]:
    """Let SIGTERM end a command the way Ctrl-C does: what it started is ended and cleaned up first."""
    terminated = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield terminated
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        terminated.set()
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            # Of a job that a script began with `&`: raised as a signal it would go unheard.
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        code = _called(arguments)
    except typer.TyperException as error:
        message = error.format_message().replace(": Value error, ", ": ", 1)
        if message.startswith("Usage:") and not as_json:
            typer.echo(message, err=True)  # a group without a command: its help is the message
            return USAGE_EXIT_CODE
        context = getattr(error, "ctx", None)
        usage = f"\n{context.get_usage()}" if context and not as_json else ""
        _report(f"{message}{usage}", "UsageError", USAGE_EXIT_CODE, as_json=as_json)
        return USAGE_EXIT_CODE
    except ShipwayError as error:
        code = failure_of(error).exit_code
        _report(str(error), type(error).__name__, code, as_json=as_json)
        return code
    except BrokenPipeError:
        return CLOSED_PIPE_EXIT_CODE
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _unexpected(error, as_json=as_json)
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception, *, as_json: bool) -> int:
    if isinstance(error, FileNotFoundError) and not _has_folder():
        text = "the folder that this was called in was removed\n  change to one that is there"
        _report(text, NotFoundError.__name__, USAGE_EXIT_CODE, as_json=as_json)
        return USAGE_EXIT_CODE
    text = f"unexpected {type(error).__name__}: {error}\n  run again with --debug to see where"
    _report(text, type(error).__name__, UNEXPECTED_EXIT_CODE, as_json=as_json)
    return UNEXPECTED_EXIT_CODE


def _has_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _called(arguments: list[str]) -> Any:
    try:
        return get_command(app).main(arguments, prog_name="shipway", standalone_mode=False)
    except SystemExit as leaving:
        # The library leaves with 1 when nobody reads on, which would be a gate's FAIL.
        if isinstance(leaving.__context__, BrokenPipeError):
            raise leaving.__context__ from None
        raise
    except ExceptionGroup as group:
        raise _cause(group) from group


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """Return what tasks that failed together failed of: an error of ours, where there is one."""
    found: Exception = group.subgroup(ShipwayError) or group
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found


def _report(message: str, kind: str, code: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": {"type": kind, "message": message, "exit_code": code}}, ensure_ascii=False))
    else:
        typer.echo(f"shipway: {message}", err=True)


if __name__ == "__main__":
    main()
