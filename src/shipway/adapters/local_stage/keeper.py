"""Ends what stages started when the pipeline itself is killed: nobody else would be left to do it.

A keeper is a shell that waits for the end of a pipe. Whoever lets it go says so first; a pipe that just ends means that
the pipeline is dead. Then every process is ended that has the keeper's token among its variables (where `/proc` shows
them), which each command is begun with, and every group that was told to the keeper: for commands that clear their
variables, and for systems without `/proc`.
"""

import itertools
import os
import secrets
import subprocess
from contextlib import suppress
from typing import Self

SHELL = "/bin/sh"
TOKEN_VARIABLE = "SHIPWAY_KEEPER"  # noqa: S105 - the name of a variable, not a secret
# Between SIGTERM and SIGKILL a group has two seconds: twenty looks, a tenth of a second apart.
_KEEP = """
groups=" "
while read -r line; do
  group=${line#?}
  case $line in
    done) exit 0 ;;
    +*) groups="$groups$group " ;;
    -*) case $groups in *" $group "*) groups="${groups%% "$group" *} ${groups#* "$group" }" ;; esac ;;
  esac
done
left() {
  for group in $groups; do if kill -0 "-$group"; then echo "-$group"; fi; done
  for file in $(grep -lsF "$1" /proc/[0-9]*/environ); do
    process=${file#/proc/}
    process=${process%/environ}
    case $(cat "/proc/$process/stat") in *") Z "*) ;; *) echo "$process" ;; esac
  done
}
looks=0
while found=$(left "$1") && [ -n "$found" ]; do
  if [ $looks -ge 40 ]; then exit 1; fi
  if [ $looks -lt 20 ]; then number=TERM; else number=KILL; fi
  if [ $looks -eq 0 ] || [ $looks -ge 20 ]; then
    for one in $found; do kill -s $number -- "$one"; done
  fi
  looks=$((looks + 1))
  sleep 0.1
done
"""
_CLOSED_S = 30.0


class GroupKeeper:
    """One keeper process; commands that are begun with `variables` are its to end."""

    def __init__(self) -> None:
        token = f"{TOKEN_VARIABLE}={secrets.token_hex(16)}"
        self._numbers = itertools.count(1)
        self.variables = dict([token.split("=")])
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        try:
            self._process = subprocess.Popen(
                [SHELL, "-c", _KEEP, "keeper", token],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C in the terminal must not end the keeper with the rest.
                start_new_session=True,
                env={"PATH": os.defpath},
            )
        except BaseException:
            os.close(self._writing)
            raise
        finally:
            os.close(reading)

    def __enter__(self) -> Self:
        """Return the keeper."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the keeper go, with whatever is left."""
        self.close()

    def of_command(self) -> dict[str, str]:
        """Return the variables of one more command: the keeper finds it by them, and so does `strays`, alone."""
        return {name: f"{token}.{next(self._numbers)}" for name, token in self.variables.items()}

    def begun(self, group: int) -> None:
        """Say that a group has begun."""
        self._tell(f"+{group}")

    def ended(self, group: int) -> None:
        """Say that a group is gone; its number may soon be somebody else's."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """End the keeper; blocks until it is gone."""
        self._tell("done")
        self.abandon()

    def abandon(self) -> None:
        """Leave the keeper as a pipeline that is killed does; blocks until it has ended what was left."""
        os.close(self._writing)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSED_S)

    def _tell(self, line: str) -> None:
        with suppress(OSError):
            os.write(self._writing, f"{line}\n".encode())
