"""The demo's project: a copy of the helpdesk example in a folder of its own."""

import shutil
from importlib import resources
from pathlib import Path

from shipway.core.errors import NotFoundError

_EXAMPLE = "helpdesk"


def example_folder() -> Path:
    """Return the example as installed with the package, or as it lies in a source checkout.

    Raises:
        NotFoundError: neither is there.
    """
    package = Path(str(resources.files("shipway")))
    for folder in (package / "examples" / _EXAMPLE, package.parent.parent / "examples" / _EXAMPLE):
        if (folder / "shipway.yaml").is_file():
            return folder
    raise NotFoundError(f"the {_EXAMPLE} example is not installed", hint="install Shipway again from its package")


def copy_example(target: Path) -> None:
    """Copy the example without what running it left behind."""
    shutil.copytree(example_folder(), target, ignore=shutil.ignore_patterns(".shipway", "__pycache__"))
