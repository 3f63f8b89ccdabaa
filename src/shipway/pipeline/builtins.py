"""What is known of a built-in stage before it runs: the catalogue that the graph, the keys and the compilers read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from shipway.config.sections.section import Section
from shipway.core.errors import UsageError
from shipway.pipeline.spec import StageSpec


class NoOptions(Section):
    """The options of a built-in that has none."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """A stage that a pipeline names in `uses`.

    `loads` is `"module:function"`; the function takes the project's folder (`Path | None`) and returns a
    `ports.BuiltinStage`. `options` checks the stage's `with` before anything runs. What touches the world (deploying,
    loading, notifying) is not `cacheable`. A stage that gives no inputs, outputs, tools or env has those of here. What
    it `leaves` for later stages is among its outputs whatever it gives; `{stage}` in a path is the stage's name.
    """

    name: str
    loads: str
    summary: str
    options: type[Section] = NoOptions
    cacheable: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    asks: Literal["never", "always", "dataset"] = "never"
    """Whether it asks models or makes what they answer from, for which a job of a CI system installs more.

    `dataset` stands for stages that do so where their options name one.
    """


def with_builtin_defaults(stage: StageSpec, catalogue: Mapping[str, Builtin]) -> StageSpec:
    """Return the stage with what its built-in says where it says nothing itself.

    Raises:
        UsageError: there is no such built-in, or it may not be kept and the stage has inputs.
    """
    if stage.uses is None:
        return stage
    builtin = catalogue.get(stage.uses)
    if builtin is None:
        known = ", ".join(sorted(catalogue)) or "none"
        raise UsageError(f"pipeline.{stage.name}.uses: {stage.uses!r} is not built in (there are: {known})")
    left = (path.format(stage=stage.name) for path in builtin.leaves)
    return replace(
        stage,
        inputs=stage.inputs or builtin.inputs,
        outputs=tuple(dict.fromkeys((*(stage.outputs or builtin.outputs), *left))),
        tools=stage.tools or builtin.tools,
        env=stage.env or builtin.env,
        cache=stage.cache and builtin.cacheable,
    )
