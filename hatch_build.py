"""Hook of the wheel's build: with SHIPWAY_COMPILE=1 the modules of a gateway's hot path are compiled into the wheel.

The extension modules stand beside their .py files, which Python then reads for tracebacks alone. They are made from a
copy in a temporary folder, so nothing compiled ever lies in `src`. Without the variable the wheel is pure Python.
"""

import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "SHIPWAY_COMPILE"
COMPILERS = ("cython==3.3.1", "setuptools==84.2.1")
"""The versions of requirements/compile.txt: what is built in an isolated environment is what `make compiled` builds."""
LISTED = "shipway/compiled.txt"
"""The list of what was compiled, inside the wheel; `shipway doctor` compares it with what Python finds."""
# Names stay objects: with inference, Cython 3.3 takes `b` of `a, b, c = (*pair, flag)` for a bool. Annotations mean
# nothing, as in Python.
_DIRECTIVES = {"infer_types": False, "annotation_typing": False, "binding": True, "emit_code_comments": False}
DECLARED = ".pxd"
"""Beside a module lies what Cython may know of its classes: the types of their attributes. Python does not read it."""
_CLASS = re.compile(r"^cdef class (\w+)", re.MULTILINE)
_FLAGS = ["-O2", "-g0", "-w"]
_AT_ONCE = 2
_NEEDED = (
    "a compiled wheel needs a C compiler, Python's headers (Debian: gcc and python3-dev) and "
    f"{' and '.join(COMPILERS)} (requirements/compile.txt); without {SWITCH} the wheel is pure Python and needs none"
)


class NotCompiledError(Exception):
    """The compiled wheel that was asked for cannot be made."""


class HotPathBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls for each wheel; `modules` in pyproject.toml says what is compiled."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what an isolated build has to install."""
        return list(COMPILERS) if is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add to the wheel's files."""
        if not is_wanted():
            return
        if version == "editable":
            raise NotCompiledError(f"an editable install runs the files of src, which stay Python: unset {SWITCH}")
        root, modules = Path(self.root), self.config.get("modules", [])
        check(root / "src", modules)
        self._folder = Path(tempfile.mkdtemp(prefix="shipway-compile-"))
        try:
            files = compiled(root / "src", modules, self._folder)
        except NotCompiledError:
            shutil.rmtree(self._folder)
            raise
        listed = self._folder / "compiled.txt"
        listed.write_text("".join(f"{module}\n" for module in modules), encoding="utf-8")
        build_data["force_include"] |= {str(file): inside for file, inside in files.items()} | {str(listed): LISTED}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel by now."""
        del version, build_data, artifact_path
        if is_wanted():
            shutil.rmtree(self._folder)


def is_wanted() -> bool:
    """Return whether the environment asks for a compiled wheel."""
    told = os.environ.get(SWITCH, "")
    if told not in {"", "0", "1"}:
        raise NotCompiledError(f"{SWITCH}={told}: it is 1 (compile) or 0")
    return told == "1"


def check(source: Path, modules: Sequence[str]) -> None:
    """Refuse a list that names what is not there."""
    missing = [module for module in modules if not _file(source, module).is_file()]
    if missing or not modules:
        what = ", ".join(missing) or "nothing"
        raise NotCompiledError(
            f"tool.hatch.build.targets.wheel.hooks.custom.modules names {what}, which {source} has not"
        )


def compiled(source: Path, modules: Sequence[str], folder: Path) -> dict[Path, str]:
    """Compile modules from a copy; returns each extension module with its place in the wheel."""
    _check_compilers()
    copy, built = folder / "source", folder / "built"
    for module in modules:
        _copy(source, copy, module)
    before = Path.cwd()
    os.chdir(copy)  # the compiled code names its source by the path it was given
    try:
        _build(modules, built)
    except (Exception, SystemExit) as error:
        raise NotCompiledError(f"the hot path was not compiled: {type(error).__name__}: {error}; {_NEEDED}") from error
    finally:
        os.chdir(before)
    files = {file: file.relative_to(built).as_posix() for file in sorted(built.rglob("*")) if file.is_file()}
    if len(files) != len(modules):
        raise NotCompiledError(f"{len(modules)} modules were to be compiled, {len(files)} were; {_NEEDED}")
    return files


def _check_compilers() -> None:
    for pin in COMPILERS:
        name, _, wanted = pin.partition("==")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            raise NotCompiledError(f"the hot path was not compiled: {name} is {found}, not {wanted}; {_NEEDED}")


def _build(modules: Sequence[str], built: Path) -> None:
    from setuptools import Distribution, Extension  # noqa: I001, PLC0415 - before Cython: it brings distutils to 3.12
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415
    from Cython.Build import cythonize  # noqa: PLC0415 - needed only here; a pure wheel is built without it

    paths = ((module, _file(Path(), module)) for module in modules)
    extensions = [Extension(module, [str(path)], extra_compile_args=_FLAGS) for module, path in paths]
    ready = cythonize(extensions, nthreads=_AT_ONCE, language_level=3, quiet=True, compiler_directives=_DIRECTIVES)
    command = build_ext(Distribution({"ext_modules": ready}))
    command.ensure_finalized()
    command.build_lib, command.build_temp, command.parallel = str(built), str(built.parent / "objects"), _AT_ONCE
    command.run()


def _copy(source: Path, copy: Path, module: str) -> None:
    """Copy a module, what it is declared to be, and the packages it is in: their names are part of its own."""
    target = _file(copy, module)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = _file(source, module).read_text(encoding="utf-8")
    declared = _file(source, module).with_suffix(DECLARED)
    if declared.is_file():
        declarations = declared.read_text(encoding="utf-8")
        target.with_suffix(DECLARED).write_text(declarations, encoding="utf-8")
        text = without_slots(text, _CLASS.findall(declarations))
    target.write_text(text, encoding="utf-8")
    for folder in target.relative_to(copy).parents[:-1]:
        (copy / folder / "__init__.py").touch()


def without_slots(text: str, names: Sequence[str]) -> str:
    """Take `slots=True`, which Cython does not know, from what becomes extension types: those have slots."""
    classes = "|".join(names)
    pattern = rf"^(@dataclass\(.*?)(, )?slots=True(?(2)|(?:, )?)(.*\)\nclass (?:{classes}):)"
    return re.sub(pattern, r"\1\3", text, flags=re.MULTILINE)


def _file(folder: Path, module: str) -> Path:
    return folder / f"{module.replace('.', '/')}.py"
