"""What a machine has, what is free, and who gets which graphics processor."""

from shipway.pipeline.capacity import Capacity
from shipway.pipeline.spec import Resources


def test_stages_fit_while_their_sum_does() -> None:
    capacity = Capacity(Resources(cpus=2, memory_mb=1000))
    capacity.take(Resources(cpus=1.5, memory_mb=900))
    assert capacity.fits(Resources(cpus=0.5, memory_mb=100))
    assert not capacity.fits(Resources(cpus=1))
    assert not capacity.fits(Resources(cpus=0.5, memory_mb=101))


def test_a_stage_that_wants_more_processors_than_there_are_runs_by_itself() -> None:
    capacity = Capacity(Resources(cpus=2))
    wanted = Resources(cpus=16)
    assert (capacity.lacking(wanted), capacity.fits(wanted)) == ("", True)
    capacity.take(wanted)
    assert capacity.exhausted
    capacity.give_back(wanted, ())
    assert capacity.fits(Resources(cpus=2))


def test_what_the_machine_never_has_is_said() -> None:
    capacity = Capacity(Resources(cpus=2, memory_mb=1000))
    assert capacity.lacking(Resources(memory_mb=1001)) == "needs 1001 MB of memory, and there are 1000"
    assert capacity.lacking(Resources(gpus=1)) == "needs 1 GPUs, and there are none"


def test_no_graphics_processor_is_given_twice() -> None:
    capacity = Capacity(Resources(cpus=8, gpus=3))
    two, one = Resources(gpus=2), Resources(gpus=1)
    assert (capacity.take(two), capacity.take(one)) == ((0, 1), (2,))
    assert not capacity.fits(one)
    capacity.give_back(two, (0, 1))
    assert capacity.take(one) == (0,)
