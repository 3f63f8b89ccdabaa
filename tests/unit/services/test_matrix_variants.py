"""The combinations of a matrix, and the release that stands for each."""

import pytest
from tests.unit.services.fake_targets import Prompts, project, released, write_prompt

from shipway.core.errors import ConfigError, NotFoundError, UsageError
from shipway.registry.difference import difference
from shipway.services.matrix_variants import Axes, read_axes, read_setting, variants_of


async def varied(app, axes):
    return await variants_of(app, await released(app), "chat", axes, Prompts())


async def test_every_combination_is_a_release_of_its_own_with_nothing_else_changed(tmp_path):
    app = project(tmp_path)
    base = await released(app)
    axes = Axes((write_prompt(tmp_path, "short", "brief"), "prompts/chat.yaml"), ("big",), {"temperature": (0.5, 0.9)})

    found = await variants_of(app, base, "chat", axes, Prompts())

    assert [variant.name for variant in found] == [
        "prompt=short.yaml model=big temperature=0.5",
        "prompt=short.yaml model=big temperature=0.9",
        "prompt=chat.yaml model=big temperature=0.5",
        "prompt=chat.yaml model=big temperature=0.9",
    ]
    assert len({variant.release.id for variant in found}) == 4
    assert found[0].values == {"prompt": "prompts/short.yaml", "model": "big", "temperature": 0.5}
    changes = {(change.key, change.after) for change in difference(base, found[-1].release).changes}
    assert changes == {("routes.chat.model", "big"), ("decoding.temperature", 0.9)}
    assert await app.state.blobs.get(found[0].release.manifest["prompts"]["chat"]["digest"])
    assert [release.id for release in await app.releases.list()] == [base.id]


async def test_a_model_that_the_release_does_not_have_comes_from_the_project(tmp_path):
    app = project(tmp_path)
    base = await released(app)
    del base.manifest["models"]["big"]

    found = await variants_of(app, base, "chat", Axes(models=("small", "big")), Prompts())

    assert found[1].release.manifest["models"]["big"]["model"] == "echo-2"


async def test_the_same_release_twice_is_refused_with_both_names(tmp_path):
    app = project(tmp_path)
    write_prompt(tmp_path, "copy", "helpful")
    (tmp_path / "prompts/copy.yaml").write_bytes((tmp_path / "prompts/chat.yaml").read_bytes())

    with pytest.raises(UsageError, match=r"temperature=0 and temperature=0 are the same release"):
        await varied(app, Axes(settings={"temperature": (0, 0.0)}))
    with pytest.raises(UsageError, match=r"chat.yaml and copy.yaml have the same content"):
        await varied(app, Axes(prompts=("prompts/chat.yaml", "prompts/copy.yaml")))


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (Axes(), "nothing varies: there is one combination"),
        (Axes(models=("big",)), "nothing varies"),
        (Axes(settings={"temperature": tuple(range(65))}), "65 combinations, and a matrix has 64 at most"),
        (Axes(settings={"top-p": (0, 1)}), "no such setting; did you mean 'top_p'?"),
        (Axes(settings={"temperature": (0, 3)}), r"decoding.temperature=3: temperature: .*less than or equal to 2"),
        (Axes(settings={"daily_usd": (1, 2)}), "no such setting"),
        (Axes(settings={"retrieval.top_k": (0, 3)}), "retrieval.top_k=0: top_k: .*greater than or equal to 1"),
    ],
)
async def test_what_cannot_be_varied_is_refused(tmp_path, axes, said):
    with pytest.raises(UsageError, match=said):
        await varied(project(tmp_path), axes)


async def test_what_is_not_there_is_named(tmp_path):
    app = project(tmp_path)
    with pytest.raises(NotFoundError, match="no model 'bigg'; did you mean 'big'"):
        await varied(app, Axes(models=("small", "bigg")))
    with pytest.raises(NotFoundError, match=r"prompts/gone.yaml: no such file"):
        await varied(app, Axes(prompts=("prompts/gone.yaml", "prompts/chat.yaml")))
    (tmp_path / "prompts/bad.yaml").write_text("system: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prompts/bad.yaml:1"):
        await varied(app, Axes(prompts=("prompts/bad.yaml", "prompts/chat.yaml")))


async def test_a_route_without_a_prompt_has_none_to_vary(tmp_path):
    app = project(tmp_path)
    base = await released(app)
    base.manifest["policy"]["routes"]["chat"]["prompt"] = None
    with pytest.raises(UsageError, match="route 'chat' has no prompt to vary"):
        await variants_of(app, base, "chat", Axes(prompts=("prompts/chat.yaml", "x")), Prompts())


def test_a_setting_is_read_as_yaml_reads_values():
    assert read_setting("temperature=0,0.7") == ("temperature", (0, 0.7))
    assert read_setting("seed = null, 3") == ("seed", (None, 3))
    for wrong in ("temperature", "=1", "temperature=", "temperature=,"):
        with pytest.raises(UsageError, match="write KEY=VALUE,VALUE"):
            read_setting(wrong)


def test_axes_are_read_from_a_file():
    text = b"prompts: [a.yaml, b.yaml]\nmodels: [small]\nset: { temperature: [0, 0.7] }\n"

    assert read_axes(text, "m.yaml") == Axes(("a.yaml", "b.yaml"), ("small",), {"temperature": (0, 0.7)})
    assert read_axes(text, "m.yaml").size == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"prompt: [a]\n", "m.yaml: unknown key 'prompt'; did you mean 'prompts'?"),
        (b"models: small\n", "m.yaml: models: must be a list with at least one value, not 'small'"),
        (b"models: [1]\n", "m.yaml: models: 1 is no name"),
        (b"set: [1]\n", "m.yaml: set: must map keys to lists"),
        (b"set: { temperature: 0 }\n", r"m.yaml: set.temperature: must be a list"),
        (b"models: [\xff]\n", "m.yaml: is not UTF-8 text"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        read_axes(text, "m.yaml")


def test_options_add_to_a_file_and_settings_take_its_place():
    file = Axes(("a",), ("small",), {"temperature": (0,), "top_p": (1,)})

    found = file.plus(Axes(("b", "a"), (), {"temperature": (1, 2)}))

    assert found == Axes(("a", "b"), ("small",), {"temperature": (1, 2), "top_p": (1,)})
