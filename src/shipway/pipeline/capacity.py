"""What a machine has and what of it is free: stages run at the same time while they fit. The runner asks."""

from shipway.pipeline.spec import Resources


class Capacity:
    """Processors, memory and graphics processors of one machine."""

    def __init__(self, total: Resources) -> None:
        self._total = total
        self._cpus = total.cpus
        self._memory_mb = total.memory_mb
        self._gpus = list(range(total.gpus))

    def lacking(self, wanted: Resources) -> str:
        """Return what the machine lacks even when nothing else runs, in words; empty when it has enough.

        Too few processors only make a stage slower, so such a stage runs by itself.
        """
        if wanted.memory_mb > self._total.memory_mb:
            return f"needs {wanted.memory_mb} MB of memory, and there are {self._total.memory_mb}"
        if wanted.gpus > self._total.gpus:
            return f"needs {wanted.gpus} GPUs, and there are {self._total.gpus or 'none'}"
        return ""

    @property
    def exhausted(self) -> bool:
        """Whether nothing more can start: every stage needs something of a processor."""
        return self._cpus <= 0

    def fits(self, wanted: Resources) -> bool:
        """Tell whether a stage can start beside what runs."""
        return self._of(wanted) <= self._cpus and wanted.memory_mb <= self._memory_mb and wanted.gpus <= len(self._gpus)

    def take(self, wanted: Resources) -> tuple[int, ...]:
        """Take what a stage needs; returns the graphics processors that are its own."""
        self._cpus -= self._of(wanted)
        self._memory_mb -= wanted.memory_mb
        given, self._gpus = self._gpus[: wanted.gpus], self._gpus[wanted.gpus :]
        return tuple(given)

    def give_back(self, wanted: Resources, gpus: tuple[int, ...]) -> None:
        """Return what a stage had."""
        self._cpus += self._of(wanted)
        self._memory_mb += wanted.memory_mb
        self._gpus = sorted([*self._gpus, *gpus])

    def _of(self, wanted: Resources) -> float:
        return min(wanted.cpus, self._total.cpus)
