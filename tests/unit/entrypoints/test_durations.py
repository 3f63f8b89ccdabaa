import pytest

from shipway.core.errors import UsageError
from shipway.entrypoints.cli.durations import duration_s


@pytest.mark.parametrize("text", ["0d", "d", "1.5h", "-1d", "90", "1h30m", "5w"])
def test_what_is_no_duration_is_refused_with_every_unit_that_is_allowed(text):
    with pytest.raises(UsageError) as caught:
        duration_s(text, "--expires")

    assert f"--expires {text!r} is not a duration" in str(caught.value)
    assert "s, m, h or d" in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("12h", 43_200.0), ("90d", 7_776_000.0)])
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert duration_s(text, "--for") == seconds
