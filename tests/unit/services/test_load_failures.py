"""What a gateway worker writes down for the rollout controller when it cannot load a release."""

import pytest

from shipway.adapters.memory.store import MemoryDocuments
from shipway.core.clock import ManualClock
from shipway.core.errors import NotFoundError, StoreError, UnavailableError
from shipway.core.ids import ReleaseId
from shipway.services.load_failures import LoadFailures, ReportingLoader

RELEASE, OTHER = ReleaseId("rel_b"), ReleaseId("rel_bb")


class Loader:
    """Loads, or raises what it is told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.runtime = object()

    async def load(self, release):
        if self.error is not None:
            raise self.error
        return self.runtime


class FullDocuments(MemoryDocuments):
    """A store whose disk is full."""

    async def put(self, *_args, **_named):
        raise StoreError("no space left on device")

    async def delete(self, *_args):
        raise StoreError("no space left on device")


def made(documents):
    loader, clock = Loader(), ManualClock()
    failures = LoadFailures(documents, "production")
    return loader, clock, failures, ReportingLoader(loader, failures, "gateway-0", clock)


async def test_a_failure_is_found_under_its_release_and_names_worker_and_reason():
    loader, clock, failures, reporting = made(MemoryDocuments())
    loader.error = NotFoundError("the model 'small' is not in this environment\nmore", hint="add it")
    with pytest.raises(NotFoundError):
        await reporting.load(RELEASE)
    wanted = "gateway-0 cannot load rel_b: the model 'small' is not in this environment"
    assert await failures.problem(RELEASE, since_s=clock.now_s()) == wanted
    assert await failures.problem(OTHER, since_s=0.0) == ""
    assert await LoadFailures(failures.documents, "staging").problem(RELEASE, since_s=0.0) == ""


async def test_a_failure_from_before_a_rollout_does_not_count_against_it():
    loader, clock, failures, reporting = made(MemoryDocuments())
    loader.error = ValueError("broken")
    with pytest.raises(ValueError, match="broken"):
        await reporting.load(RELEASE)
    clock.advance(1.0)
    assert await failures.problem(RELEASE, since_s=clock.now_s()) == ""


async def test_a_release_that_loads_in_the_end_is_no_problem_any_more():
    loader, _, failures, reporting = made(MemoryDocuments())
    loader.error = OSError("busy")
    with pytest.raises(OSError, match="busy"):
        await reporting.load(RELEASE)
    loader.error = None
    assert await reporting.load(RELEASE) is loader.runtime
    assert await failures.problem(RELEASE, since_s=0.0) == ""


async def test_a_store_that_cannot_write_hides_neither_a_failure_nor_a_runtime():
    loader, _, _, reporting = made(FullDocuments())
    assert await reporting.load(RELEASE) is loader.runtime
    loader.error = OSError("busy")
    with pytest.raises(OSError, match="busy"):
        await reporting.load(RELEASE)


async def test_a_failure_that_may_pass_is_a_problem_only_when_it_does_not():
    loader, _, failures, reporting = made(MemoryDocuments())
    loader.error = UnavailableError("engine 'small' is not running")
    for expected in ("", "", "gateway-0 cannot load rel_b: engine 'small' is not running"):
        with pytest.raises(UnavailableError):
            await reporting.load(RELEASE)
        assert await failures.problem(RELEASE, since_s=0.0) == expected
