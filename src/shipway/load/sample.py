"""One request of a load test as it was: due, sent, answered; `summary` makes figures of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back; times are readings of the generator's clock. Without an error it was a whole answer.

    `first_s` is the first piece of text of a stream, None without one. The gaps are those between its pieces.
    """

    ended_s: float
    first_s: float | None = None
    error: str = ""
    is_timeout: bool = False
    is_broken_stream: bool = False
    mean_gap_s: float | None = None
    longest_gap_s: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A request; seconds count from the start of the test."""

    template: str
    stage: int
    due_s: float
    sent_s: float
    outcome: Outcome
    is_stream: bool = False
    """A stream was asked for."""

    @property
    def latency_ms(self) -> float:
        """Return the time from when it was due to the end of its answer."""
        return (self.outcome.ended_s - self.due_s) * 1000.0

    @property
    def service_ms(self) -> float:
        """Return the time from when it was sent, which hides what waited to be sent."""
        return (self.outcome.ended_s - self.sent_s) * 1000.0

    @property
    def ttft_ms(self) -> float | None:
        """Return the time from when it was due to the first piece of text, at least that until it was given up."""
        if self.outcome.first_s is None and self.outcome.is_timeout and self.is_stream:
            return self.latency_ms
        return None if self.outcome.first_s is None else (self.outcome.first_s - self.due_s) * 1000.0

    @property
    def lag_ms(self) -> float:
        """Return by how much the generator itself sent too late."""
        return (self.sent_s - self.due_s) * 1000.0
