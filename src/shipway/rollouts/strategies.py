"""What each strategy makes of a user's steps: strategies are plans, and one controller carries all of them out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shipway.rollouts.plan import DEFAULT_STEPS, Plan, Step


@dataclass(frozen=True, slots=True)
class StrategyOptions:
    """What a user may say about a strategy; each reads its own.

    `steps` replaces a strategy's steps. `bake_s` is how long everybody is served before the promotion (blue-green,
    swap) and how long each batch takes (rolling). `smoke` and `approval` come before the first user.
    """

    steps: tuple[Step, ...] = ()
    bake_s: float = 60.0
    keep_s: float = 1800.0
    batches: int = 4
    sample: float = 0.1
    min_pairs: int = 100
    smoke: bool = False
    approval: bool = False
    windows: tuple[str, ...] = ()


def with_strategy(plan: Plan, strategy: str, options: StrategyOptions) -> Plan:
    """Return a plan that carries out a strategy; an unknown one is left for `plan_check` to refuse."""
    steps = _steps(strategy, options)
    kept_s = options.keep_s if strategy == "blue-green" else plan.keep_s
    chosen = replace(plan, strategy=strategy, steps=_guarded(steps, options), keep_s=kept_s)
    return replace(chosen, exclusive=strategy == "swap")


def _steps(strategy: str, options: StrategyOptions) -> tuple[Step, ...]:
    everybody = Step(1.0, min_bake_s=options.bake_s, prove=False, traffic=False)
    match strategy:
        case "blue-green":
            return options.steps or (Step(0.0, traffic=False), everybody)
        case "swap":
            return options.steps or (everybody,)
        case "shadow":
            shadow = Step(0.0, shadow=options.sample, min_pairs=options.min_pairs, min_bake_s=options.bake_s)
            # After pairs have shown no harm everybody follows at once, unless steps were written for it.
            return (shadow, *(options.steps or (everybody,)))
        case "rolling":
            return options.steps or tuple(_batches(options))
        case _:
            return options.steps or DEFAULT_STEPS


def _batches(options: StrategyOptions) -> Sequence[Step]:
    count = max(options.batches, 1)
    return [
        Step(number / count, min_bake_s=options.bake_s, prove=False, traffic=False) for number in range(1, count + 1)
    ]


def _guarded(steps: tuple[Step, ...], options: StrategyOptions) -> tuple[Step, ...]:
    """Return the steps with the options that hold for all: windows, and smoke and approval before the first user."""
    users = next((place for place, step in enumerate(steps) if step.weight > 0.0), 0)
    return tuple(
        replace(
            step,
            windows=step.windows or options.windows,
            smoke=step.smoke or (options.smoke and place == users),
            approval=step.approval or (options.approval and place == users),
        )
        for place, step in enumerate(steps)
    )
