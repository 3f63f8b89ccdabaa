"""The variants of a matrix: one release with every combination of prompts, models and settings put into it.

`services.matrix` asks them. A variant is a manifest of its own, so whatever answers for a release answers for it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import PurePosixPath
from typing import Any

import anyio.to_thread
from pydantic import BaseModel, ValidationError

from shipway.config.sections.corpus import Retrieval
from shipway.config.sections.models import Decoding
from shipway.config.sections.routes import Budgets
from shipway.config.yaml_source import parse_yaml, parse_yaml_value
from shipway.core.errors import NotFoundError, UsageError
from shipway.evals.suggestions import did_you_mean
from shipway.registry.hybrids import Manifest, changed
from shipway.registry.model import Provenance, Release
from shipway.services.application import Application
from shipway.services.releases import PromptReader, prompt_file

MOST_VARIANTS = 64
_SECTIONS: Mapping[str, type[BaseModel]] = {"decoding": Decoding, "retrieval": Retrieval, "budgets": Budgets}
_MODEL_FIELDS = ("engine", "model", "max_ctx", "max_out")
# What a budget section has beside these belongs to an environment, and no release carries it.
_BUDGET_FIELDS = frozenset({"max_prompt", "max_new"})
_FILE_KEYS = ("prompts", "models", "set")


@dataclass(frozen=True, slots=True)
class Axes:
    """What varies; an axis without values stays as the release has it. `settings` maps a key to its values."""

    prompts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    settings: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)

    def plus(self, other: "Axes") -> "Axes":
        """Return both together; a setting of the other one takes the place of this one's."""
        settings = {**self.settings, **other.settings}
        return Axes(_once((*self.prompts, *other.prompts)), _once((*self.models, *other.models)), settings)

    @property
    def size(self) -> int:
        """The number of combinations."""
        sizes = [len(self.prompts), len(self.models), *(len(values) for values in self.settings.values())]
        found = 1
        for size in sizes:
            found *= max(1, size)
        return found


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination: its name in tables, what it was made of, and the release that stands for it."""

    name: str
    values: Mapping[str, Any] = field(hash=False)
    release: Release


def read_axes(data: bytes, shown: str) -> Axes:
    """Read axes from a YAML file with `prompts`, `models` and `set`.

    Raises:
        ConfigError: it is no YAML.
        UsageError: another key, or a value that is no list.
    """
    try:
        body = parse_yaml(data.decode(), shown).data
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown}: is not UTF-8 text (byte {error.start})") from error
    for key in body:
        if key not in _FILE_KEYS:
            raise UsageError(f"{shown}: unknown key {key!r}; {did_you_mean(str(key), _FILE_KEYS)}")
    settings = body.get("set") or {}
    if not isinstance(settings, dict):
        raise UsageError(f"{shown}: set: must map keys to lists, such as `temperature: [0, 0.7]`")
    return Axes(
        tuple(_texts(body.get("prompts"), f"{shown}: prompts")),
        tuple(_texts(body.get("models"), f"{shown}: models")),
        {str(key): tuple(_several(value, f"{shown}: set.{key}")) for key, value in settings.items()},
    )


def read_setting(text: str) -> tuple[str, tuple[Any, ...]]:
    """Return key and values of `KEY=VALUE[,VALUE…]`; values are read as YAML reads them.

    Raises:
        UsageError: it has no `=` or no value.
    """
    key, equals, rest = text.partition("=")
    values = [value.strip() for value in rest.split(",") if value.strip()]
    if not equals or not key.strip() or not values:
        raise UsageError(f"--set {text!r}: write KEY=VALUE,VALUE such as temperature=0,0.7")
    return key.strip(), tuple(parse_yaml_value(value, f"--set {key}") for value in values)


async def variants_of(app: Application, base: Release, route: str, axes: Axes, reader: PromptReader) -> list[Variant]:
    """Return every combination; prompts are read, checked and kept in the store, and nothing else is written.

    Raises:
        UsageError: nothing varies, too many combinations, two that are the same, or a setting that does not exist.
        NotFoundError: a prompt file or model is not there.
        ConfigError: a prompt file is malformed or holds a credential.
    """
    if axes.size > MOST_VARIANTS:
        raise UsageError(
            f"{axes.size} combinations, and a matrix has {MOST_VARIANTS} at most",
            hint="vary fewer things at a time: the more variants, the more cases it takes to tell any two apart",
        )
    steps = [
        *await _prompt_axis(app, base, route, axes.prompts, reader),
        *_model_axis(app, base, route, axes.models),
        *[_setting_axis(base, key, values) for key, values in axes.settings.items()],
    ]
    if not steps or axes.size == 1:
        raise UsageError(
            "nothing varies: there is one combination",
            hint="name two or more with --prompt FILE, --model NAME or --set KEY=VALUE,VALUE",
        )
    by = Provenance(app.actor, app.clock.now_s(), message=f"variant of {base.id} in a matrix")
    found = [_variant(base, combination, by) for combination in product(*steps)]
    _demand_different(found)
    return found


@dataclass(frozen=True, slots=True)
class _Step:
    axis: str
    shown: str
    value: Any
    apply: Callable[[Manifest], None]


def _variant(base: Release, steps: Iterable[_Step], by: Provenance) -> Variant:
    chosen = list(steps)

    def apply(manifest: Manifest) -> None:
        for step in chosen:
            step.apply(manifest)

    name = " ".join(f"{step.axis}={step.shown}" for step in chosen)
    return Variant(name, {step.axis: step.value for step in chosen}, changed(base, apply, by))


def _demand_different(variants: Sequence[Variant]) -> None:
    seen: dict[str, str] = {}
    for variant in variants:
        if variant.release.id in seen:
            raise UsageError(f"{seen[variant.release.id]} and {variant.name} are the same release; remove one of them")
        seen[variant.release.id] = variant.name


async def _prompt_axis(
    app: Application, base: Release, route: str, files: Sequence[str], reader: PromptReader
) -> list[list[_Step]]:
    if not files:
        return []
    name = base.manifest["policy"]["routes"][route].get("prompt")
    if name is None:
        raise UsageError(f"route {route!r} has no prompt to vary", hint="leave out --prompt")
    steps: list[_Step] = []
    seen: dict[str, str] = {}
    for file in files:
        data = await anyio.to_thread.run_sync(prompt_file, app.loaded.root, name, file, reader)
        digest, shown = await app.state.blobs.put(data), PurePosixPath(file).name
        if digest in seen:
            raise UsageError(f"{seen[digest]} and {shown} have the same content; name one of them")
        seen[digest] = shown
        steps.append(_prompt_step(name, PurePosixPath(file), digest))
    return [steps]


def _prompt_step(name: str, file: PurePosixPath, digest: str) -> _Step:
    entry = {"path": file.as_posix(), "digest": digest}

    def apply(manifest: Manifest) -> None:
        manifest["prompts"][name] = entry

    return _Step("prompt", file.name, file.as_posix(), apply)


def _model_axis(app: Application, base: Release, route: str, names: Sequence[str]) -> list[list[_Step]]:
    if names and base.manifest["policy"]["routes"][route].get("model") is None:
        raise UsageError(f"route {route!r} has no model to vary", hint="leave out --model")
    return [[_model_step(app, base, route, name) for name in names]] if names else []


def _model_step(app: Application, base: Release, route: str, name: str) -> _Step:
    known, here = base.manifest["models"], app.project.models
    if name not in known and name not in here:
        raise NotFoundError(
            f"no model {name!r}; {did_you_mean(name, {*known, *here})}", hint="add it to `models` in shipway.yaml"
        )
    entry = known.get(name)
    if entry is None:
        settings = here[name].model_dump(mode="json")
        entry = {key: settings[key] for key in _MODEL_FIELDS} | {"file_digest": None}

    def apply(manifest: Manifest) -> None:
        manifest["models"][name] = entry
        manifest["policy"]["routes"][route]["model"] = name

    return _Step("model", name, name, apply)


def _setting_axis(base: Release, key: str, values: Sequence[Any]) -> list[_Step]:
    section, name = _setting(base, key)
    return [_setting_step(base, section, name, value) for value in values]


def _setting(base: Release, key: str) -> tuple[str, str]:
    known = {
        f"{section}.{name}": (section, name)
        for section in _SECTIONS
        for name in base.manifest["policy"].get(section, {})
        if section != "budgets" or name in _BUDGET_FIELDS
    }
    found = [place for full, place in known.items() if key in (full, place[1])]
    if len(found) == 1:
        return found[0]
    if found:
        several = " and ".join(".".join(place) for place in found)
        raise UsageError(f"--set {key}: it may be {several}; write one of them")
    raise UsageError(f"--set {key}: a release has no such setting; {did_you_mean(key, [*known, *_names(known)])}")


def _names(known: Mapping[str, tuple[str, str]]) -> list[str]:
    return [name for _, name in known.values()]


def _setting_step(base: Release, section: str, name: str, value: Any) -> _Step:
    current = {key: item for key, item in base.manifest["policy"][section].items() if key in _fields(section)}
    try:
        checked = _SECTIONS[section].model_validate({**current, name: value})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or name
        raise UsageError(f"--set {section}.{name}={value}: {where}: {first['msg']}") from error
    valid = checked.model_dump(mode="json")[name]

    def apply(manifest: Manifest) -> None:
        manifest["policy"][section][name] = valid

    return _Step(name, _shown(valid), valid, apply)


def _fields(section: str) -> frozenset[str]:
    return frozenset(_SECTIONS[section].model_fields)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _several(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UsageError(f"{where}: must be a list with at least one value, not {value!r}")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    wrong = [item for item in _several(value, where) if not isinstance(item, str)]
    if wrong:
        raise UsageError(f"{where}: {wrong[0]!r} is no name")
    return list(value)
