"""Processes, proxies and locks that only write down what is done to them."""

from dataclasses import dataclass, field

from shipway.core.errors import ConflictError, ForbiddenError, UnavailableError


@dataclass
class FakeProcesses:
    """Processes by pid with their start; `said` is what was done to them, in order."""

    alive: dict[int, int] = field(default_factory=dict)
    listening: dict[int, int] = field(default_factory=dict)
    limits: dict[int, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def started(self, pid):
        return self.alive.get(pid, 0)

    def _is(self, pid, started):
        return bool(started) and self.alive.get(pid) == started

    def kill(self, pid, started):
        if not self._is(pid, started):
            raise ConflictError(f"process {pid} ended meanwhile")
        self.said.append(f"kill {pid}")

    def stop(self, pid, started):
        if not self._is(pid, started):
            raise ConflictError(f"process {pid} ended meanwhile")
        self.said.append(f"stop {pid}")

    def resume(self, pid, started):
        if self._is(pid, started):
            self.said.append(f"resume {pid}")
        return self._is(pid, started)

    def file_size_limit(self, pid):
        return self.limits.get(pid, -1)

    def limit_file_size(self, pid, started, soft):
        if self._is(pid, started):
            self.limits[pid] = soft
            self.said.append(f"limit {pid} to {soft}")
        return self._is(pid, started)

    def require_listener(self, pid, port):
        if self.listening.get(pid) != port:
            raise ForbiddenError(f"process {pid} does not listen on port {port}")


@dataclass
class FakeProxy:
    said: list[str] = field(default_factory=list)

    async def start(self):
        self.said.append("start")
        return "http://127.0.0.1:9/v1"

    async def stop(self):
        self.said.append("stop")

    def break_it(self, *, fails, delay_s, share):
        self.said.append(f"break {fails} {delay_s} {share}")

    def mend(self):
        self.said.append("mend")


@dataclass
class FakeLock:
    said: list[str] = field(default_factory=list)
    is_busy: bool = False

    async def take(self):
        if self.is_busy:
            raise UnavailableError("cannot be locked")
        self.said.append("take")

    async def release(self):
        self.said.append("release")
