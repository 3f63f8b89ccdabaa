"""What is wrong with a plan is told where the user wrote it, once, by the name that he gave it."""

from dataclasses import dataclass, field

import pytest

from shipway.config.loading import load_project
from shipway.core.errors import ConfigError
from shipway.core.snapshot import KeyEntry
from shipway.registry.model import Provenance, Release, release_id
from shipway.rollouts.plan_text import printable
from shipway.services.rollout_faults import park_notes, plan_notes, plan_problems, require_possible, segment_notes
from shipway.services.rollout_plans import PlanChoice, chosen_plan, plan_of, project_plan

APP = """\
app: shop
models:
  small: {engine: echo, model: echo}
routes:
  ask: {kind: chat, model: small}
"""


@pytest.fixture
def project(tmp_path):
    def load(text):
        (tmp_path / "shipway.yaml").write_text(APP + text)
        return load_project(tmp_path, {})

    return load


def release(kind="chat"):
    manifest = {"policy": {"routes": {"ask": {"kind": kind}}}}
    return Release(release_id(manifest), manifest, Provenance("user:ada", 1.0))


def refused(loaded, plan_file=None, kind="chat"):
    """Return the lines with which a deploy is refused."""
    chosen = chosen_plan(project_plan(loaded), PlanChoice(plan_file))
    with pytest.raises(ConfigError) as raised:
        require_possible(chosen, plan_of(chosen.section), release(kind), loaded)
    return raised.value.problems


def test_a_step_that_does_not_rise_is_told_with_its_line_at_the_check_and_at_the_deploy(project):
    loaded = project("rollout:\n  steps:\n    - {weight: 0.5}\n    - {weight: 0.2}\n    - {weight: 1}\n")
    line = "shipway.yaml:9: rollout.steps[1].weight: 0.2 does not rise above 0.5; order the steps by weight"
    assert plan_problems(loaded) == [line]
    assert refused(loaded) == [line]


def test_what_a_plan_file_says_wrong_is_told_as_its_line(project, tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("timezone: Mars/Olympus\nsteps:\n  - {weight: 0.5, max_s: 3}\n  - {weight: 1}\n")
    lines = refused(project(""), file)
    assert any(line.startswith(f"{file}:1: rollout.timezone: 'Mars/Olympus' is unknown") for line in lines)
    assert any(line.startswith(f"{file}:3: rollout.steps[0].max_s: 3.0 ends the step before") for line in lines)


def test_a_bad_window_of_all_steps_is_told_once(project):
    loaded = project('rollout:\n  windows: ["Mon 09:00-17:00", "noon"]\n')
    (line,) = plan_problems(loaded)
    assert line.startswith("shipway.yaml:7: rollout.windows[1]: 'noon' is no window")


def test_a_bad_window_of_one_step_is_told_there(project):
    loaded = project("rollout:\n  steps:\n    - {weight: 0.5, windows: [noon]}\n    - {weight: 1}\n")
    (line,) = plan_problems(loaded)
    assert line.startswith("shipway.yaml:8: rollout.steps[0].windows[0]: 'noon' is no window")


def test_steps_after_a_shadow_keep_the_numbers_that_they_have_in_the_file(project):
    steps = "    - {weight: 0.5}\n    - {weight: 0.2}\n    - {weight: 1}\n"
    loaded = project(f"rollout:\n  strategy: shadow\n  steps:\n{steps}")
    (line,) = plan_problems(loaded)
    assert line.startswith("shipway.yaml:10: rollout.steps[1].weight: 0.2 does not rise above 0.5")


def test_the_step_that_a_strategy_puts_before_the_users_is_told_of(project):
    chosen = project_plan(project("rollout:\n  strategy: shadow\n  steps: [{weight: 1}]\n"))
    (note,) = plan_notes(chosen, plan_of(chosen.section), release())
    assert note.startswith("strategy shadow: step 1 is its step of copies")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("  keep_s: 5\n  bake_s: 3\n", ["canary: `bake_s` does", "canary: `keep_s` does"]),
        ("  strategy: shadow\n  min_pairs: 5\n  sample: 0.5\n  bake_s: 3\n", []),
        ("  strategy: swap\n  batches: 2\n  bake_s: 3\n", ["swap: `batches` does not count; it is for rolling"]),
        ("  strategy: swap\n  steps: [{weight: 1}]\n  bake_s: 3\n", ["swap: the steps are yours, so `bake_s` does"]),
    ],
)
def test_keys_that_the_strategy_does_not_read_are_told_of(project, section, told):
    chosen = project_plan(project(f"rollout:\n{section}"))
    notes = plan_notes(chosen, plan_of(chosen.section), release())
    assert len(notes) == len(told)
    assert all(note.startswith(f"strategy {begin}") for note, begin in zip(notes, told, strict=True)), notes


def test_steps_that_were_written_for_another_strategy_are_told_of(project, tmp_path):
    loaded, file = project("rollout:\n  steps: [{weight: 0.5}, {weight: 1}]\n"), tmp_path / "plan.yaml"
    file.write_text("strategy: blue-green\n")
    for choice in (PlanChoice(strategy="blue-green"), PlanChoice(file)):
        chosen = chosen_plan(project_plan(loaded), choice)
        notes = plan_notes(chosen, plan_of(chosen.section), release())
        assert notes == ["strategy blue-green: `steps` were written for canary and do not count"]
    file.write_text("strategy: blue-green\nsteps: [{weight: 1}]\n")
    chosen = chosen_plan(project_plan(loaded), PlanChoice(file))
    assert plan_notes(chosen, plan_of(chosen.section), release()) == []


def test_a_route_that_the_release_has_not_is_told_with_its_line(project):
    loaded = project("rollout:\n  steps:\n    - weight: 0.5\n      routes: {aks: 0.1}\n    - {weight: 1}\n")
    assert refused(loaded) == ["shipway.yaml:9: rollout.steps[0].routes.aks: no such route in the release; it has ask"]


def test_a_metric_that_is_switched_off_but_never_was_is_refused_with_the_one_that_was_meant(project):
    assert plan_problems(project("rollout:\n  metrics:\n    latncy: null\n    cost: null\n")) == [
        "shipway.yaml:8: rollout.metrics.latncy: there is no such metric to switch off; did you mean 'latency'?"
    ]


def test_a_new_metric_without_a_kind_is_refused_once_with_its_line(project):
    assert plan_problems(project("rollout:\n  metrics:\n    latencies: {ratio: 3}\n")) == [
        "shipway.yaml:8: rollout.metrics.latencies: a metric of your own needs a kind; did you mean 'latency'?"
    ]


def test_a_metric_without_a_name_is_refused_with_its_line(tmp_path):
    (tmp_path / "shipway.yaml").write_text(APP + 'rollout:\n  metrics:\n    "": {kind: event, events: [error]}\n')
    with pytest.raises(ConfigError, match=r"shipway.yaml:8: rollout.metrics\[''\]: the key must be a name"):
        load_project(tmp_path, {})


def test_a_mistyped_event_is_refused_with_its_line_beside_right_ones_and_in_a_metric(project):
    told = "'eror' is no event that can be counted; did you mean 'error'?"
    assert plan_problems(project("rollout:\n  events: [timeout, eror]\n")) == [
        f"shipway.yaml:7: rollout.events[1]: {told}"
    ]
    assert plan_problems(project("rollout:\n  events: [eror]\n")) == [f"shipway.yaml:7: rollout.events[0]: {told}"]
    assert plan_problems(project("rollout:\n  metrics:\n    ev: {kind: event, events: [eror], share: 0.05}\n")) == [
        f"shipway.yaml:8: rollout.metrics.ev.events[0]: {told}"
    ]


def test_a_guards_event_beside_others_is_warned_about_for_no_guard_records_it(project):
    loaded = project("rollout:\n  events: [error, unsafe]\n")
    assert plan_problems(loaded) == []
    assert any(
        line.startswith("warning: events: 'unsafe' is recorded by nothing")
        for line in printable(plan_of(loaded.project.rollout))
    )


def test_copies_for_a_service_are_refused_at_the_key_that_asks_for_them(project, tmp_path):
    for text, place in (
        ("strategy: shadow\n", "1: rollout.strategy"),
        ("steps:\n  - {weight: 0.5}\n  - {weight: 0.6, shadow: 0.1}\n  - {weight: 1}\n", "3: rollout.steps[1].shadow"),
    ):
        file = tmp_path / "plan.yaml"
        file.write_text(text)
        lines = refused(project(""), file, kind="http")
        assert next(line for line in lines if "can be copied to" in line).startswith(f"{file}:{place}: ")


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        ("unsave", "did you mean 'unsafe'?"),
        ("not_supported", "did you mean 'unsupported'?"),
        ("leak", "known: abstained, client_gone, context_trimmed, error,"),
    ],
)
def test_a_safety_event_that_nothing_can_record_is_refused_with_its_line_and_the_one_that_was_meant(
    project, event, meant
):
    loaded = project(f"rollout:\n  rules:\n    safety_events:\n      - unsupported\n      - {event}\n")
    (line,) = plan_problems(loaded)
    key = "shipway.yaml:10: rollout.rules.safety_events[1]"
    assert line.startswith(f"{key}: {event!r} is no event that can be counted; {meant}")
    assert refused(loaded) == [line]


def test_a_safety_event_of_a_plan_file_is_refused_as_its_line(project, tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("strategy: canary\nrules:\n  safety_events: [unsave]\n")
    (line,) = refused(project(""), file)
    assert line.startswith(f"{file}:3: rollout.rules.safety_events[0]: 'unsave' is no event")


@pytest.mark.parametrize(
    ("rules", "warned"),
    [
        ("safety_events: [unsupported, fallback]", []),
        ("safety_events: []", []),
        ("safety_events: [error, unsafe]", ["rules.safety_events[1]: 'unsafe'"]),
        (
            "safety_events: [guard.pii, blocked_output]",
            ["rules.safety_events[0]: 'guard.pii'", "rules.safety_events[1]: 'blocked_output'"],
        ),
        ("safety_events: [unsafe]\n    safety: {action: 'off'}", []),
        ("sure: 0.99", []),
    ],
)
def test_safety_events_that_only_a_guard_would_record_are_taken_and_warned_about(project, rules, warned):
    loaded = project(f"rollout:\n  rules:\n    {rules}\n")
    assert plan_problems(loaded) == []
    chosen = project_plan(loaded)
    notes = plan_notes(chosen, plan_of(chosen.section), release())
    why = "is a guard's event, and this version has no guard, so the rule safety never sees it"
    assert notes == [f"warning: {key} {why}" for key in warned]


def test_a_level_of_error_at_which_nothing_is_ever_decided_is_warned_about(project):
    lines = printable(plan_of(project("rollout: {alpha: 1.0e-300}\n").project.rollout))
    assert any("warning: alpha: 1e-300 asks for evidence of 1e+300" in line for line in lines)


def test_blue_green_with_shares_is_refused_because_it_would_be_a_canary(project):
    loaded = project("rollout:\n  strategy: blue-green\n  steps:\n    - {weight: 0.3}\n    - {weight: 1}\n")
    (line,) = plan_problems(loaded)
    assert line.startswith("shipway.yaml:9: rollout.steps[0].weight: blue-green is nobody, then everybody, not 0.3")


def test_smoke_checks_are_read_before_the_rollout_begins(project, tmp_path):
    (tmp_path / "junk.yaml").write_text("- name: a\n  kind: contians\n")
    loaded = project("rollout:\n  smoke: true\n  smoke_file: junk.yaml\n")
    line = "junk.yaml:2: kind: there is no kind 'contians'; did you mean 'contains'?"
    assert [found.replace("[0].", "") for found in plan_problems(loaded)] == [line]
    assert refused(loaded) == plan_problems(loaded)


def test_a_file_of_smoke_checks_that_is_not_there_is_told_with_the_line_that_names_it(project):
    loaded = project("rollout:\n  smoke_file: none.yaml\n")
    assert plan_problems(loaded) == [
        "shipway.yaml:7: rollout.smoke_file: 'none.yaml' is not there; name a file of the project"
    ]


def test_the_projects_own_smoke_checks_are_read_where_the_plan_names_none(project, tmp_path):
    (tmp_path / "smoke.yaml").write_text("- name: a\n  kind: junk\n")
    loaded = project("evals: {smoke: smoke.yaml}\nrollout: {smoke: true}\n")
    assert any("there is no kind 'junk'" in line for line in refused(loaded))


def test_copies_of_a_service_alone_are_refused(project):
    loaded = project("rollout: {strategy: shadow}\n")
    assert any("no route of this release can be copied to" in line for line in refused(loaded, kind="http"))


@dataclass
class Keys:
    entries: list = field(default_factory=list)

    async def list(self):
        return self.entries


SEGMENTS = "rollout:\n  strategy: flag\n  segments: [{tenants: [acmee], groups: [staf]}, {keys: [key_2]}]\n"


@pytest.mark.anyio
async def test_segments_of_which_nobody_is_are_warned_about(project):
    loaded = project(SEGMENTS)
    keys = Keys([KeyEntry("key_1", "00", "acme", ("staff",), ("invoke",), None)])
    assert await segment_notes(loaded, plan_of(loaded.project.rollout), keys) == [
        "warning: segments[0].tenants: nobody is in 'acmee'; did you mean 'acme'?",
        "warning: segments[0].groups: nobody is in 'staf'; did you mean 'staff'?",
        "warning: segments[1].keys: nobody is in 'key_2'; did you mean 'key_1'?",
    ]


@pytest.mark.anyio
async def test_who_comes_with_a_token_of_another_issuer_is_not_taken_for_nobody(project):
    issuer = "auth: {issuers: [{issuer: 'https://id', audience: [a], tenant: acme}]}\n"
    loaded = project(issuer + SEGMENTS)
    assert await segment_notes(loaded, plan_of(loaded.project.rollout), Keys()) == []


def service(command):
    manifest = {"policy": {"routes": {"api": {"kind": "http", "command": command}}}}
    return Release(release_id(manifest), manifest, Provenance("user:ada", 1.0))


def parked(loaded, command=("serve",)):
    return park_notes(loaded, plan_of(loaded.project.rollout), service(list(command)))


def test_a_swap_that_may_take_longer_to_start_than_requests_wait_is_warned_about_with_both_numbers(project):
    (note,) = parked(project("rollout: {strategy: swap}\n"))
    assert note.startswith("warning: rollout.start_timeout_s = 120 exceeds server.park_s = 60: ")
    assert "callers get 503 after 60 s" in note


def test_a_swap_that_ends_its_start_while_requests_wait_is_not_warned_about(project):
    assert parked(project("rollout: {strategy: swap, start_timeout_s: 60}\n")) == []
    assert parked(project("rollout: {strategy: swap}\nserver: {park_s: 120}\n")) == []


def test_a_rollout_that_starts_nothing_while_requests_wait_is_not_warned_about(project):
    assert parked(project("rollout: {strategy: canary}\n")) == []
    assert parked(project("rollout: {strategy: swap}\n"), command=()) == []
