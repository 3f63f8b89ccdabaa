"""A derived pipeline in words, for `pipeline list` and `pipeline graph`."""

from shipway.pipeline.spec import When
from shipway.pipeline.standard.derive import Derived


def derived_lines(pipeline: Derived | None) -> list[str]:
    """Return that a pipeline is derived and what would bring more stages; nothing of one that is written down."""
    if pipeline is None:
        return []
    return [
        "derived, as shipway.yaml has no pipeline; `shipway pipeline init --write` writes it there to be changed",
        *(f"  {line}" for line in pipeline.missing),
        "",
    ]


def in_words(when: When) -> str:
    """Return the circumstances of a stage in one line."""
    said = []
    if when.events:
        said.append(f"on {', '.join(when.events)}")
    if when.branches:
        said.append(f"of {', '.join(when.branches)}")
    if when.changed:
        said.append(f"if {' or '.join(when.changed)} changed")
    if when.tiers:
        said.append(f"in tier {', '.join(when.tiers)}")
    return " ".join(said) or "always"
