"""Runs the programs that check something; implements `pipeline.tools.model.ToolRunner`.

Their standard output is read by us and goes to a file of the call; what they say on the other one goes to the stage's
output. However a call ends, no process of its group is left.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from shipway.adapters.local_stage.keeper import SHELL, GroupKeeper
from shipway.adapters.local_stage.processes import Command, run_group
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.pipeline.tail import OutputTail
from shipway.pipeline.tools.model import SCRATCH, ToolOutput

_LARGEST_BYTES = 200_000_000
_STDOUT = "stdout"
_VERSION_TIMEOUT_S = 60.0
_VERSION_CHARS = 100
_REDIRECT = 'out=$1; shift; exec "$@" >"$out"'


@dataclass(frozen=True, slots=True)
class LocalToolRunner:
    """Programs of this machine: of `PATH`, or from beside the interpreter, where a virtual environment has them."""

    root: Path
    environ: Mapping[str, str]
    """What the programs see."""
    output: OutputTail
    grace_s: float = 5.0

    def there(self, program: str) -> bool:
        """Tell whether a program can be found."""
        return self._found(program) is not None

    async def version(self, program: str, arguments: Sequence[str] = ("--version",)) -> str:
        """Return in one line what a program says about its version; empty when it says nothing."""
        silent = LocalToolRunner(self.root, self.environ, OutputTail(), self.grace_s)
        with anyio.move_on_after(_VERSION_TIMEOUT_S):
            done = await silent.run((program, *arguments))
            lines = (done.stdout.decode(errors="replace") or done.stderr).split("\n")
            return " ".join(lines[0].split())[:_VERSION_CHARS] if done.code == 0 else ""
        return ""

    async def run(
        self,
        argv: Sequence[str],
        extra: Mapping[str, str] | None = None,
        *,
        streamed: bool = False,
        given: Mapping[str, str] | None = None,
    ) -> ToolOutput:
        """Run a program to its end."""
        program = self._found(argv[0])
        if program is None:
            raise NotFoundError(f"{argv[0]} is not installed", hint="put it on PATH")
        folder = Path(await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="shipway-tool-")))
        said, beside = _Heard(self.output), given or {}
        try:
            for name, text in beside.items():
                await anyio.Path(folder / name).write_text(text, encoding="utf-8")
            arguments = [word.replace(SCRATCH, str(folder)) for word in argv[1:]]
            variables = {name: word.replace(SCRATCH, str(folder)) for name, word in (extra or {}).items()}
            kept = () if streamed else (SHELL, "-c", _REDIRECT, "tool", str(folder / _STDOUT))
            with GroupKeeper() as keeper:
                command = Command(
                    (*kept, program, *arguments), self.root, {**self.environ, **variables}, keeper, self.grace_s
                )
                code = await run_group(command, said)
            files = await anyio.to_thread.run_sync(_files, folder)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UnavailableError(f"{argv[0]} cannot be run: {reason or error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        stdout = files.pop(_STDOUT, b"")
        made = {name: data for name, data in files.items() if name not in beside}
        return ToolOutput(code, stdout, said.text(), made, root=str(self.root))

    def _found(self, program: str) -> str | None:
        search = self.environ.get("PATH") or os.defpath
        return shutil.which(program, path=os.pathsep.join((search, str(Path(sys.executable).parent))))


class _Heard(OutputTail):
    """The end of what one call said, which the stage's output gets as well."""

    def __init__(self, output: OutputTail) -> None:
        super().__init__(16_384)
        self._output = output

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self._output.feed(data)


def _files(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            size = path.stat().st_size
            if size > _LARGEST_BYTES:
                raise ValueError(f"it wrote {size} bytes, {_LARGEST_BYTES} are allowed")
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found
