"""What a target cannot express is refused with the reason; each target collects its reasons here."""

from dataclasses import dataclass, field

from shipway.core.errors import ConfigError


@dataclass(slots=True)
class Refusals:
    """The reasons why one target does not take a pipeline."""

    system: str
    reasons: list[str] = field(default_factory=list)

    def add(self, stage: str, key: str, reason: str) -> None:
        """Note that a key of a stage cannot be said."""
        self.reasons.append(f"pipeline.{stage}.{key}: {self.system} {reason}")

    def add_setting(self, key: str, reason: str) -> None:
        """Note that a key of `ci` cannot be said, or is missing."""
        self.reasons.append(f"ci.{key}: {self.system} {reason}")

    def settle(self) -> None:
        """Refuse if there is any reason.

        Raises:
            ConfigError: with all of them.
        """
        if self.reasons:
            raise ConfigError(self.reasons, hint="change the stage, or compile for a CI system that can say this")
