"""The hook that compiles the hot path into a wheel, without compiling anything."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling builds the wheel; requirements/build.txt has it")

ROOT = Path(__file__).parents[2]
DECLARED = sorted((ROOT / "src").rglob("*.pxd"))
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


def test_declarations_lie_beside_modules_of_the_list_alone(build):
    """The classes of a module that stays Python cannot be what a declaration says."""
    found = {path.relative_to(ROOT / "src").with_suffix("").as_posix() for path in DECLARED}

    assert found
    assert found - {module.replace(".", "/") for module in build.config["modules"]} == set()


@pytest.mark.parametrize("path", DECLARED, ids=lambda path: path.stem)
def test_a_declaration_names_every_attribute_that_its_class_sets(path):
    """A compiled class has no others: what is missing would fail when it is set, in the compiled package alone."""
    source = ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}

    for name, base, declared in declarations(path):
        inherited = next((found for path in DECLARED for other, _, found in declarations(path) if other == base), set())
        assert declared == set_by(classes[name]) - inherited


def declarations(path: Path) -> list[tuple[str, str, set[str]]]:
    """Return the classes of a file with their bases and attributes."""
    texts = re.split(r"^(?=cdef class )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    heads = [re.match(r"cdef class (\w+)\(?(\w*)", text) for text in texts]
    found = [set(re.findall(r"^    cdef (?:public|readonly) .*?(\w+)$", text, re.MULTILINE)) for text in texts]
    return [(head[1], head[2], names) for head, names in zip(heads, found, strict=True)]


def set_by(made: ast.ClassDef) -> set[str]:
    """Return the attributes that a class's methods set, and its fields."""
    fields = {node.target.id for node in made.body if isinstance(node, ast.AnnAssign)}
    targets = [
        node
        for node in ast.walk(made)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name)
    ]
    return fields | {node.attr for node in targets if node.value.id == "self"}


def test_a_module_is_compiled_with_its_declarations(hook, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(hook, "COMPILERS", ())
    monkeypatch.setattr(hook, "_build", lambda modules, built: seen.extend(sorted(Path.cwd().rglob("flight.*"))))

    with pytest.raises(hook.NotCompiledError):
        hook.compiled(ROOT / "src", ["shipway.gateway.flight"], tmp_path)
    declared, source = seen
    assert (declared.name, source.name) == ("flight.pxd", "flight.py")
    assert "slots=True" not in source.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("@dataclass(slots=True)\nclass A:", "@dataclass()\nclass A:"),
        ("@dataclass(slots=True, eq=False)\nclass A:", "@dataclass(eq=False)\nclass A:"),
        ("@dataclass(frozen=True, slots=True)\nclass A:", "@dataclass(frozen=True)\nclass A:"),
        ("@dataclass(frozen=True, slots=True, eq=False)\nclass B:", "@dataclass(frozen=True, eq=False)\nclass B:"),
        ("@dataclass(slots=True)\nclass Another:", "@dataclass(slots=True)\nclass Another:"),
    ],
)
def test_the_compiler_is_spared_the_slots_of_declared_classes_alone(hook, before, after):
    assert (
        hook.without_slots(f"import x\n\n\n{before}\n    a: int\n", ["A", "B"])
        == f"import x\n\n\n{after}\n    a: int\n"
    )


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
