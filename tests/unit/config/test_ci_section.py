"""When the pipeline starts by itself, and which variables stages may see: what no CI system would take is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.config.loading import load_project
from shipway.config.sections.cron import cron_fields
from shipway.core.errors import ConfigError

HEAD = """\
app: shop
models: {main: {engine: echo, model: echo}}
routes: {chat: {kind: chat, model: main}}
"""


def problems(root: Path, *lines: str) -> list[str]:
    (root / "shipway.yaml").write_text(HEAD + "".join(f"{line}\n" for line in lines))
    with pytest.raises(ConfigError) as refused:
        load_project(root, {})
    return refused.value.problems


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("foo", "'foo' has 1 field; give five (minute, hour, day of month, month, day of week), such as 0 3 * * *"),
        ("* * * *", "'* * * *' has 4 fields; give five"),
        ("0 0 3 * * *", "'0 0 3 * * *' has 6 fields; give five"),
        ("61 99 * * *", "minute: '61' is not in 0-59"),
        ("1 99 * * *", "hour: '99' is not in 0-23"),
        ("0 0 0 * *", "day of month: '0' is not in 1-31"),
        ("0 0 1 MON *", "month: 'MON' is not in 1-12 or JAN-DEC"),
        ("0 0 * * FEB", "day of week: 'FEB' is not in 0-6 or SUN-SAT"),
        ("*/0 * * * *", "minute: the step of '*/0' must be a number of 1-59"),
        ("0 */24 * * *", "hour: the step of '*/24' must be a number of 1-23"),
        ("5/15 * * * *", "minute: '5/15' is not known everywhere; write 5-59/15"),
        ("0 0 * * 7", "day of week: 7 is Sunday for some systems alone; write 0 or SUN"),
        ("0 0 * * SAT-SUN", "day of week: 'SAT-SUN' ends before it begins; list both parts with a comma"),
        ("0 0 30 2 *", "day of month: no month of 2 has a day 30, so it would never start"),
        ("@daily", "'@daily' is not known everywhere; give five fields"),
        ("H 3 * * *", "minute: 'H' is not in 0-59; ?, L, W, # and H are not known everywhere"),
        ("1,,2 * * * *", "minute: '' is not in 0-59"),
    ],
)
def test_a_schedule_that_is_none_is_refused_with_its_line_the_field_and_the_range(
    tmp_path: Path, schedule: str, said: str
) -> None:
    (found,) = problems(tmp_path, "ci:", f'  schedule: "{schedule}"')
    assert found.startswith(f"shipway.yaml:5: ci.schedule: {said}")


@pytest.mark.parametrize(
    ("schedule", "fields"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("*/15  0-6/2 1,15 JAN,mar-APR Mon-FRI", "*/15 0-6/2 1,15 1,3-4 1-5"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 4 1", "0 0 31 4 1"),
        ("", ""),
    ],
)
def test_names_become_numbers_which_every_system_knows(schedule: str, fields: str) -> None:
    assert cron_fields(schedule) == fields


@given(st.text(alphabet="0123456789*/-, ?LJANSUN@", max_size=25))
def test_what_is_taken_stays_as_it_is_when_it_is_read_again(text: str) -> None:
    try:
        fields = cron_fields(text)
    except ValueError:
        return
    assert cron_fields(fields) == fields
    assert set(fields) <= set("0123456789*/-, ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("A=secret", "'A=…' is not the name of a variable; env lists names, values come from the environment"),
        ("A B", "'A B' is not the name of a variable"),
        ("1A", "'1A' is not the name of a variable"),
        ("", "'' is not the name of a variable"),
        ("SHIPWAY_OUTPUT", "SHIPWAY_OUTPUT is set by the pipeline itself for every stage; take it out"),
        ("SHIPWAY_STAGE_BUILD_SIZE", "SHIPWAY_STAGE_BUILD_SIZE is set by the pipeline itself"),
    ],
)
def test_a_variable_that_no_stage_can_be_given_is_refused_with_its_line(tmp_path: Path, name: str, said: str) -> None:
    (found,) = problems(tmp_path, "pipeline:", f'  a: {{run: [x], env: [GOOD, SHIPWAY_ID_TOKEN, "{name}"]}}')
    assert found.startswith(f"shipway.yaml:5: pipeline.a.env[2]: {said}")
    assert "secret" not in found
