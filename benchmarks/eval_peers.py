"""promptfoo and DeepEval for `bench_evals.py`: the same cases, the same endpoint, the same concurrency.

Each is a program of its own, in the environment that `make test-tools` makes; one that is not installed is left out.
One request and one check of the text per case, without cache, store and judge; that every case passed is checked.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.process import environment
from shipway.config.environment import process_environment
from shipway.core.errors import NotFoundError

ENVIRONMENTS = Path(__file__).resolve().parents[1] / ".venv-tools"
MODEL = "bench-model"
_DEEPEVAL = Path(__file__).resolve().parent / "peers" / "deepeval_cases.py"
_FAILED = "not every case passed"

RunT_co = TypeVar("RunT_co", covariant=True)


class Measured(Protocol[RunT_co]):
    """Runs a command to its end and returns what it took."""

    def __call__(self, command: Sequence[str], cases: int, folder: Path, env: dict[str, str] | None, /) -> RunT_co:
        """Run a command in a folder; its output goes to `output.log` there."""


def runners(
    folder: Path, url: str, concurrency: int, measured: Measured[RunT_co]
) -> dict[str, Callable[[int], RunT_co]]:
    """Return what runs so many cases, by tool, for those that are installed."""
    tools = Environments(ENVIRONMENTS, process_environment())
    found: dict[str, Callable[[int], RunT_co]] = {}
    for name, make in (("promptfoo", _promptfoo), ("deepeval", _deepeval)):
        place = folder / name
        place.mkdir()
        try:
            found[name] = make(tools, place, url, concurrency, measured)
        except NotFoundError as error:
            print(f"without {name}: {error}")
    return found


def _promptfoo(
    tools: Environments, folder: Path, url: str, concurrency: int, measured: Measured[RunT_co]
) -> Callable[[int], RunT_co]:
    config, out = folder / "config.json", folder / "out.json"
    flags = ["--no-cache", "--no-write", "--no-share", "--no-table", "--no-progress-bar", "-j", str(concurrency)]
    command = [*tools.promptfoo(), "eval", "-c", str(config), "-o", str(out), *flags]
    env = environment(process_environment(), folder, {"PROMPTFOO_CONFIG_DIR": str(folder)})

    def run(cases: int) -> RunT_co:
        words = [f"word{number}" for number in range(cases)]
        tests = [{"vars": {"question": word}, "assert": [{"type": "contains", "value": word}]} for word in words]
        provider = {"id": f"openai:chat:{MODEL}", "config": {"apiBaseUrl": url, "apiKey": "none"}}
        config.write_text(json.dumps({"prompts": ["{{question}}"], "providers": [provider], "tests": tests}))
        out.unlink(missing_ok=True)
        took = measured(command, cases, folder, env)
        stats = json.loads(out.read_text())["results"]["stats"]
        if stats["successes"] != cases:
            raise SystemExit(f"promptfoo: {_FAILED}: {stats}")
        return took

    return run


def _deepeval(
    tools: Environments, folder: Path, url: str, concurrency: int, measured: Measured[RunT_co]
) -> Callable[[int], RunT_co]:
    program = [str(tools.python("deepeval")), str(_DEEPEVAL), url, MODEL, str(concurrency)]
    extra = {"DEEPEVAL_RESULTS_FOLDER": str(folder), "DEEPEVAL_CACHE_FOLDER": str(folder)}
    env = environment(process_environment(), folder, extra)

    def run(cases: int) -> RunT_co:
        took = measured([*program, str(cases)], cases, folder, env)
        said = (folder / "output.log").read_text(errors="replace")
        if f"passed {cases}\n" not in said:
            raise SystemExit(f"DeepEval: {_FAILED}:\n{said[-2000:]}")
        return took

    return run
