"""The hook that compiles the hot path into a wheel, without compiling anything."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling builds the wheel; requirements/build.txt has it")

ROOT = Path(__file__).parents[2]
PINNED = (ROOT / "requirements" / "compile.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(hook):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    config = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    return hook.HotPathBuildHook(str(ROOT), config, None, None, "", "wheel")


@pytest.mark.parametrize("told", [None, "", "0"])
def test_a_wheel_is_pure_and_needs_no_compiler_unless_asked(build, monkeypatch, told):
    monkeypatch.delenv("SHIPWAY_COMPILE", raising=False)
    if told is not None:
        monkeypatch.setenv("SHIPWAY_COMPILE", told)
    data = {}

    build.initialize("standard", data)
    build.finalize("standard", data, "x.whl")

    assert (data, build.dependencies()) == ({}, [])


def test_a_compiled_wheel_is_built_with_the_versions_that_are_pinned_by_hash(build, monkeypatch):
    monkeypatch.setenv("SHIPWAY_COMPILE", "1")

    assert build.dependencies()
    assert [pin for pin in build.dependencies() if f"{pin} \\\n" not in PINNED] == []


def test_a_word_that_is_neither_yes_nor_no_is_refused(build, hook, monkeypatch):
    monkeypatch.setenv("SHIPWAY_COMPILE", "yes")

    with pytest.raises(hook.NotCompiledError, match="SHIPWAY_COMPILE=yes: it is 1"):
        build.initialize("standard", {})


def test_an_editable_install_is_never_compiled(build, hook, monkeypatch):
    monkeypatch.setenv("SHIPWAY_COMPILE", "1")

    with pytest.raises(hook.NotCompiledError, match="unset SHIPWAY_COMPILE"):
        build.initialize("editable", {})


def test_every_module_of_the_list_exists(build, hook):
    hook.check(ROOT / "src", build.config["modules"])


@pytest.mark.parametrize(("modules", "named"), [([], "names nothing"), (["a.gone", "a.b"], "names a.gone, which")])
def test_a_list_that_names_no_module_is_refused(hook, tmp_path, modules, named):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").touch()

    with pytest.raises(hook.NotCompiledError, match=named):
        hook.check(tmp_path, modules)


def test_without_the_compiler_the_build_fails_and_says_what_to_install(hook, tmp_path, monkeypatch):
    monkeypatch.setattr(hook, "COMPILERS", ("no-such-compiler==1",))

    with pytest.raises(hook.NotCompiledError, match=r"no-such-compiler is missing, not 1; .*gcc and python3-dev"):
        hook.compiled(ROOT / "src", ["shipway.core.ids"], tmp_path)


def test_a_compiler_that_fails_fails_the_build_and_returns_to_where_it_was(hook, tmp_path, monkeypatch):
    def refuse(modules, built):
        raise SystemExit("error: command 'cc' failed")

    monkeypatch.setattr(hook, "COMPILERS", ())
    monkeypatch.setattr(hook, "_build", refuse)
    before = Path.cwd()

    with pytest.raises(hook.NotCompiledError, match=r"SystemExit: error: command 'cc' failed; .*gcc and python3-dev"):
        hook.compiled(ROOT / "src", ["shipway.core.ids"], tmp_path)
    assert Path.cwd() == before


def test_a_build_that_failed_leaves_no_folder_behind(build, hook, tmp_path, monkeypatch):
    monkeypatch.setenv("SHIPWAY_COMPILE", "1")
    monkeypatch.setattr(hook.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(hook, "COMPILERS", ("no-such-compiler==1",))

    with pytest.raises(hook.NotCompiledError):
        build.initialize("standard", {})
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_was_not_made_fails_the_build(hook, tmp_path, monkeypatch):
    monkeypatch.setattr(hook, "COMPILERS", ())
    monkeypatch.setattr(hook, "_build", lambda modules, built: None)

    with pytest.raises(hook.NotCompiledError, match="1 modules were to be compiled, 0 were"):
        hook.compiled(ROOT / "src", ["shipway.core.ids"], tmp_path)
