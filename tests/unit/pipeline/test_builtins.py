"""What a built-in says of a stage that says nothing itself."""

import pytest

from shipway.core.errors import UsageError
from shipway.pipeline.builtins import Builtin, with_builtin_defaults
from shipway.pipeline.spec import StageSpec

KNOWN = {
    "judge": Builtin("judge", "a:b", "Judges.", cacheable=True, outputs=("own.json",), leaves=("left/{stage}.json",)),
    "once": Builtin("once", "a:b", "Touches the world.", inputs=("src/**",)),
}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), ("own.json", "left/night.json")),
        (("mine.json",), ("mine.json", "left/night.json")),
        (("left/night.json",), ("left/night.json",)),
    ],
)
def test_what_a_builtin_leaves_is_an_output_whatever_the_stage_says(
    given: tuple[str, ...], found: tuple[str, ...]
) -> None:
    stage = with_builtin_defaults(StageSpec("night", uses="judge", outputs=given), KNOWN)
    assert stage.outputs == found


def test_a_stage_that_says_nothing_has_what_its_builtin_says_and_is_kept_only_where_that_may_be() -> None:
    stage = with_builtin_defaults(StageSpec("a", uses="once"), KNOWN)
    assert (stage.inputs, stage.cache) == (("src/**",), False)
    plain = StageSpec("a", run=("true",))
    assert with_builtin_defaults(plain, KNOWN) is plain


def test_a_builtin_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"pipeline\.a\.uses: 'jduge' is not built in \(there are: judge, once\)"):
        with_builtin_defaults(StageSpec("a", uses="jduge"), KNOWN)
