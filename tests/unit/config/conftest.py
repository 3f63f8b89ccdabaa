from collections.abc import Callable
from pathlib import Path

import pytest

from shipway.config.loading import LoadedProject, load_project
from shipway.core.errors import ConfigError

Problems = Callable[..., list[str]]
Load = Callable[..., LoadedProject]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write the project file (and overlays, by environment) and load it."""

    def write_and_load(text: str | bytes, *, environ: dict[str, str] | None = None, **overlays: str) -> LoadedProject:
        (tmp_path / "shipway.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        for name, overlay in overlays.items():
            (tmp_path / "configs").mkdir(exist_ok=True)
            (tmp_path / "configs" / f"{name}.yaml").write_text(overlay, encoding="utf-8")
        return load_project(tmp_path, environ or {})

    return write_and_load


@pytest.fixture
def problems(load: Load) -> Problems:
    """Load what must be refused and return the lines that say why."""

    def refused(text: str | bytes, **arguments: object) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **arguments)
        return caught.value.problems

    return refused
