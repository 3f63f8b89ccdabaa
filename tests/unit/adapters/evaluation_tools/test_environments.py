import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shipway.adapters.evaluation_tools.environments import _LOCKS, Environments, demand_locked
from shipway.adapters.evaluation_tools.process import Ended
from shipway.core.errors import IntegrityError, NotFoundError, UnavailableError
from shipway.evals.tools.ports import TOOLS

pytestmark = pytest.mark.anyio
PYTHON_LOCKS = sorted(file.name for file in _LOCKS.glob("*.txt"))


@dataclass
class Installer:
    """Notes what is started; every program ends with `code`."""

    code: int | None = 0
    started: list[list[str]] = field(default_factory=list)

    async def __call__(self, argv, folder, env, timeout_s):
        self.started.append(list(argv))
        return Ended(self.code, "no such package", timeout_s)


async def test_an_environment_is_made_of_pinned_packages_alone(tmp_path):
    installer = Installer()
    environments = Environments(tmp_path, {"PATH": ""}, installer)

    folder = await environments.install("deepeval")
    _, build, packages, check = installer.started
    assert "--require-hashes" in build
    assert "--require-hashes" in packages
    assert packages[-1].endswith("locks/deepeval.txt")
    assert check[-1] == "check"
    assert environments.python("deepeval") == folder / "bin" / "python"


async def test_an_installer_that_fails_leaves_no_environment(tmp_path):
    environments = Environments(tmp_path, {}, Installer(code=1))

    with pytest.raises(UnavailableError, match="ended with exit code 1; its last words:\nno such package"):
        await environments.install("ragas")
    with pytest.raises(NotFoundError, match="ragas is not installed"):
        environments.python("ragas")


async def test_an_environment_of_other_versions_is_refused(tmp_path):
    environments = Environments(tmp_path, {}, Installer())
    folder = await environments.install("inspect")
    (folder / ".shipway-lock").write_text("another")

    with pytest.raises(NotFoundError, match="other versions than this Shipway pins") as caught:
        environments.program("inspect", "inspect")
    assert caught.value.hint == "run `shipway eval tool install inspect` again"


async def test_promptfoo_needs_npm(tmp_path):
    with pytest.raises(UnavailableError, match="npm is not there"):
        await Environments(tmp_path, {"PATH": str(tmp_path)}, Installer()).install("promptfoo")


def test_what_npm_installed_must_be_what_is_locked():
    wanted = {"node_modules/a": {"integrity": "sha512-x"}}

    demand_locked({"node_modules/a": {"version": "1", "integrity": "sha512-x"}}, wanted)
    for other in ({"node_modules/a": {"version": "1", "integrity": "sha512-y"}}, {"node_modules/b": {"version": "1"}}):
        with pytest.raises(IntegrityError, match="another content than is locked"):
            demand_locked(other, wanted)


def test_every_tool_has_a_lock():
    assert {f"{name}.txt" for name in TOOLS if name != "promptfoo"} <= {*PYTHON_LOCKS}
    assert (_LOCKS / "promptfoo" / "package-lock.json").is_file()


@pytest.mark.parametrize("name", PYTHON_LOCKS)
def test_every_package_is_pinned_by_hash_and_no_lock_says_where_from(name):
    text = (_LOCKS / name).read_text()
    entries = [
        line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]

    assert entries
    assert [line for line in entries if "==" not in line or "--hash=sha256:" not in line] == []
    assert re.search(r"https?://|^--?(index|extra|find)", text, re.MULTILINE) is None


@pytest.mark.parametrize("name", PYTHON_LOCKS)
def test_a_lock_has_what_its_requirements_pin(name):
    wanted = (Path(__file__).parents[4] / "requirements" / "tools" / name).with_suffix(".in").read_text()
    pins = re.findall(r"^([\w-]+)(?:\[[\w,]+\])?==(\S+)", wanted, re.MULTILINE)

    locked = (_LOCKS / name).read_text()
    assert [pin for pin in pins if f"{pin[0].replace('_', '-')}=={pin[1]}" not in locked] == []


def test_npms_lock_names_no_address_and_has_every_hash():
    lock = json.loads((_LOCKS / "promptfoo" / "package-lock.json").read_text())
    wanted = json.loads((_LOCKS / "promptfoo" / "package.json").read_text())["dependencies"]

    assert lock["packages"][""]["dependencies"] == wanted
    assert [name for name, item in lock["packages"].items() if name and not item.get("integrity")] == []
    assert [name for name, item in lock["packages"].items() if "resolved" in item] == []
