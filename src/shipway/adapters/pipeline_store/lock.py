"""One run at a time in a project's folder: two would find each other's outputs. The lock dies with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipway.core.disk import explained
from shipway.core.errors import ConflictError


@contextmanager
def only_run(path: Path) -> Iterator[None]:
    """Hold the lock for as long as the body runs.

    Raises:
        ConflictError: another run, or a job, holds it.
        StoreError: the disk refuses.
    """
    with _locked(path, fcntl.LOCK_EX):
        yield


@contextmanager
def job_beside_no_run(path: Path) -> Iterator[None]:
    """Keep runs away for as long as the body runs; other jobs may hold the lock as well.

    Raises:
        ConflictError: a run holds it.
        StoreError: the disk refuses.
    """
    with _locked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with explained(path, "cannot be locked"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"another run of the pipeline is under way in {path.parent.parent.parent}",
                hint="wait for it, or run this one in a checkout of its own",
            ) from None
        yield
    finally:
        os.close(descriptor)
