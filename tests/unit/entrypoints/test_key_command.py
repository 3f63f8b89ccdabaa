import pytest

from shipway.core.errors import UsageError
from shipway.entrypoints.cli.commands.key import _duration_s


@pytest.mark.parametrize("text", ["2s", "0d", "d", "1.5h", "-1d", "90"])
def test_a_lifetime_that_is_none_is_refused_with_every_unit_that_is_allowed(text):
    with pytest.raises(UsageError) as caught:
        _duration_s(text, "--expires")

    assert f"--expires {text!r} is not a time" in str(caught.value)
    assert "m (minutes), h (hours) or d (days)" in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800.0), ("12h", 43_200.0), ("90d", 7_776_000.0)])
def test_a_lifetime_is_a_number_and_a_unit(text, seconds):
    assert _duration_s(text, "--expires") == seconds
