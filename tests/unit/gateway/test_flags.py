from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.gateway.flags import FlagErrorCode, FlagSet, Reason, compile_flags
from shipway.gateway.json_logic import compiled
from shipway.gateway.murmur import murmur3_32
from shipway.gateway.versions import version_matches

NOW_S = 1_750_000_000.0


def flag(**more: Any) -> dict[str, Any]:
    return {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off", **more}


def flags(**definitions: Any) -> FlagSet:
    return compile_flags({"flags": definitions})


def said(rule: Any, **context: Any) -> Any:
    return compiled(rule, "rule")(context)


@pytest.mark.parametrize(
    ("text", "seed", "hash_"),
    [
        (b"", 1, 0x514E28B7),
        (b"aaaa", 0x9747B28C, 0x5A97808A),
        (b"Hello, world!", 0x9747B28C, 0x24884CBA),
        (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
    ],
)
def test_the_hash_is_murmur3_by_its_published_vectors(text, seed, hash_):
    assert murmur3_32(text, seed) == hash_


@pytest.mark.parametrize(
    ("rule", "context", "value"),
    [
        ({"==": [{"var": "tenant"}, "acme"]}, {"tenant": "acme"}, True),
        ({"==": ["1", 1]}, {}, True),
        ({"===": ["1", 1]}, {}, False),
        ({"<": [1, {"var": "n"}, 3]}, {"n": 2}, True),
        ({"if": [{"var": "a"}, "yes", "no"]}, {"a": 0}, "no"),
        ({"var": "user.plan"}, {"user": {"plan": "gold"}}, "gold"),
        ({"var": ["gone", "default"]}, {}, "default"),
        ({"in": [{"var": "t"}, ["a", "b"]]}, {"t": "b"}, True),
        ({"in": ["ell", "hello"]}, {}, True),
        ({"starts_with": [{"var": "m"}, "a@"]}, {"m": "a@b.c"}, True),
        ({"ends_with": [{"var": "m"}, ".c"]}, {"m": "a@b.c"}, True),
        ({"starts_with": [{"var": "m"}, "a@"]}, {}, False),
        ({"sem_ver": [{"var": "v"}, ">=", "1.2.0"]}, {"v": "1.10.0"}, True),
        ({"and": [True, {"!": [{"var": "x"}]}]}, {}, True),
        ({"missing": ["a", "b"]}, {"a": 1}, ["b"]),
        ({"some": [{"var": "roles"}, {"==": [{"var": ""}, "admin"]}]}, {"roles": ["user", "admin"]}, True),
        ({"cat": ["v", 1]}, {}, "v1"),
        ({"%": [7, 4]}, {}, 3),
        ({"/": [1, 0]}, {}, None),
    ],
)
def test_operators_do_what_their_specification_says(rule, context, value):
    assert said(rule, **context) == value


@pytest.mark.parametrize(
    ("left", "operator", "right", "value"),
    [
        ("1.0.0-rc.1", "<", "1.0.0", True),
        ("1.0.0-rc.2", "<", "1.0.0-rc.10", True),
        ("1.2.9", "~", "1.2.0", True),
        ("1.3.0", "~", "1.2.0", False),
        ("1.3.0", "^", "1.2.0", True),
        ("2.0.0", "!=", "v2.0.0", False),
        ("two", "=", "2.0.0", None),
        ("2.0.0", "?", "2.0.0", None),
    ],
)
def test_versions_are_ordered_as_semantic_versions(left, operator, right, value):
    assert version_matches(left, operator, right) is value


def test_reasons_tell_static_targeted_and_default_apart():
    found = flags(
        plain=flag(defaultVariant="on"),
        hit=flag(targeting={"if": [{"==": [{"var": "tenant"}, "acme"]}, "on"]}),
    )
    assert found.evaluate("plain", {}, now_s=NOW_S).reason is Reason.STATIC
    assert found.evaluate("hit", {"tenant": "acme"}, now_s=NOW_S).reason is Reason.TARGETING_MATCH
    missed = found.evaluate("hit", {"tenant": "other"}, now_s=NOW_S)
    assert (missed.reason, missed.value) == (Reason.DEFAULT, False)


def test_a_targeting_rule_sees_flag_and_time():
    rule = {"if": [{">": [{"var": "$flagd.timestamp"}, 1]}, {"var": "$flagd.flagKey"}]}
    found = compile_flags({"flags": {"late": flag(variants={"late": 1}, defaultVariant=None, targeting=rule)}})
    assert found.value("late", {}, now_s=NOW_S) == 1


def test_a_boolean_targeting_result_names_the_variant_of_that_name():
    found = flags(a=flag(variants={"true": 1, "false": 2}, defaultVariant="false", targeting={"==": [1, 1]}))
    assert found.value("a", {}, now_s=NOW_S) == 1


@pytest.mark.parametrize(
    ("key", "code"), [("gone", FlagErrorCode.FLAG_NOT_FOUND), ("off", FlagErrorCode.FLAG_NOT_FOUND)]
)
def test_a_missing_or_disabled_flag_has_no_value(key, code):
    found = flags(off=flag(state="DISABLED")).evaluate(key, {}, now_s=NOW_S)
    assert (found.error, found.value) == (code, None)


def test_a_variant_that_does_not_exist_is_an_error_and_not_the_default():
    found = flags(a=flag(targeting={"var": "choice"})).evaluate("a", {"choice": "maybe"}, now_s=NOW_S)
    assert found.error is FlagErrorCode.GENERAL


@pytest.mark.parametrize(
    ("definition", "said_"),
    [
        (flag(targeting={"fractionall": []}), "flags.a.targeting: unknown operator 'fractionall'"),
        (flag(targeting={"if": [{"xor": [1, 2]}, "on"]}), "flags.a.targeting.if[0]: unknown operator 'xor'"),
        (flag(targeting={"fractional": [["on", 1.5]]}), "the weight 1.5 is not a whole number"),
        (flag(targeting={"fractional": [["on", 0]]}), "the weights sum to 0"),
        (flag(targeting={"==": [1]}), "takes 2 operands, this has 1"),
        (flag(targeting={"$ref": "nobody"}), "'nobody' is not in $evaluators"),
        (flag(state="on"), "flags.a.state: must be ENABLED or DISABLED, not 'on'"),
        (flag(defaultVariant="maybe"), "flags.a.defaultVariant: 'maybe' is not in variants (on, off)"),
        (flag(variants={"on": True, "off": "no"}), "all values must be of one type"),
        (flag(variant={}), "flags.a.variant: unknown key"),
    ],
)
def test_a_bad_definition_is_refused_when_it_is_loaded(definition, said_):
    with pytest.raises(UsageError) as caught:
        flags(a=definition)
    assert said_ in caught.value.message


def test_shared_rules_are_found_and_a_circle_of_them_is_refused():
    document = {
        "flags": {"a": flag(targeting={"if": [{"$ref": "acme"}, "on"]})},
        "$evaluators": {"acme": {"==": [{"var": "tenant"}, "acme"]}},
    }
    assert compile_flags(document).value("a", {"tenant": "acme"}, now_s=NOW_S) is True
    document["$evaluators"] = {"acme": {"$ref": "other"}, "other": {"$ref": "acme"}}
    with pytest.raises(UsageError, match="in a circle"):
        compile_flags(document)


def test_shared_rules_cannot_unfold_into_a_huge_one():
    doubling = {f"e{n}": {"and": [{"$ref": f"e{n + 1}"}, {"$ref": f"e{n + 1}"}]} for n in range(15)}
    with pytest.raises(UsageError, match="unfolds into more than"):
        compile_flags({"flags": {"a": flag(targeting={"$ref": "e0"})}, "$evaluators": {**doubling, "e15": True}})


COLORS = {name: name for name in ("red", "blue", "green", "yellow")}
QUARTERS = [[name, 25] for name in COLORS]
BY_EMAIL = {"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}
SEEDED = {"cat": ["my-seed", {"var": "email"}]}


@pytest.mark.parametrize(
    ("split", "context", "variant"),
    [
        ([BY_EMAIL, *QUARTERS], {"email": "rachel@faas.com"}, "blue"),
        ([BY_EMAIL, *QUARTERS], {"email": "monica@faas.com"}, "yellow"),
        ([BY_EMAIL, *QUARTERS], {"email": "joey@faas.com"}, "red"),
        ([BY_EMAIL, *QUARTERS], {"email": "ross@faas.com"}, "blue"),
        ([SEEDED, *QUARTERS], {"email": "rachel@faas.com"}, "green"),
        ([SEEDED, *QUARTERS], {"email": "monica@faas.com"}, "red"),
        ([SEEDED, *QUARTERS], {"email": "joey@faas.com"}, "blue"),
        ([SEEDED, *QUARTERS], {"email": "ross@faas.com"}, "green"),
        ([{"var": "email"}, ["red", 25], ["blue", 25]], {"email": "foo@foo.com"}, "blue"),
        ([{"var": "email"}, ["red"], ["blue"]], {"email": "foo@foo.com"}, "blue"),
        ([["blue", 50], ["green", 50]], {"targetingKey": "foo@foo.com"}, "green"),
        ([{"var": "email"}, ["red", 50], ["blue", 50]], {"targetingKey": "foo@foo.com"}, "blue"),
        ([{"var": "email"}, *QUARTERS], {}, "red"),
        ([["green", {"var": "w"}], ["blue", {"var": "v"}]], {"targetingKey": "u", "w": 1, "v": 0}, "green"),
        ([["green", {"var": "w"}], ["blue", {"var": "v"}]], {"targetingKey": "u", "w": "many", "v": 0}, "red"),
    ],
)
def test_users_are_split_as_flagd_splits_them(split, context, variant):
    """Source: the users and outcomes of flagd's own tests of `fractional`."""
    colour = flag(variants=COLORS, defaultVariant="red", targeting={"fractional": split})
    assert flags(headerColor=colour).value("headerColor", context, now_s=NOW_S) == variant


SPLIT = {"fractional": [["on", 10], ["off", 90]]}


@given(st.text(min_size=1, max_size=40))
def test_a_share_is_sticky(key):
    found = flags(a=flag(targeting=SPLIT))
    context = {"targetingKey": key}
    assert len({found.value("a", context, now_s=NOW_S + n) for n in range(3)}) == 1


def test_shares_converge_to_their_weights():
    found = flags(a=flag(targeting=SPLIT))
    seen = Counter(found.value("a", {"targetingKey": f"user-{n}"}, now_s=NOW_S) for n in range(10_000))
    assert 0.085 < seen[True] / 10_000 < 0.115


def test_a_growing_share_takes_nobody_out():
    small = flags(a=flag(targeting={"fractional": [["on", 10], ["off", 90]]}))
    large = flags(a=flag(targeting={"fractional": [["on", 30], ["off", 70]]}))
    contexts = [{"targetingKey": f"user-{n}"} for n in range(2000)]
    was_in = [context for context in contexts if small.value("a", context, now_s=NOW_S)]
    assert was_in
    assert all(large.value("a", context, now_s=NOW_S) for context in was_in)


def test_two_flags_split_their_users_independently():
    found = flags(
        a=flag(targeting={"fractional": [["on", 50], ["off", 50]]}),
        b=flag(targeting={"fractional": [["on", 50], ["off", 50]]}),
    )
    both = Counter()
    for n in range(4000):
        context = {"targetingKey": f"user-{n}"}
        both[found.value("a", context, now_s=NOW_S), found.value("b", context, now_s=NOW_S)] += 1
    assert all(0.2 < count / 4000 < 0.3 for count in both.values())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["var", "if", "==", "in", "x"]), inner),
    max_leaves=20,
)


@given(json_values, st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_any_targeting_is_refused_or_evaluates_to_an_answer(rule, context):
    try:
        found = flags(a=flag(targeting=rule))
    except UsageError:
        return
    found.evaluate("a", context, now_s=NOW_S)
