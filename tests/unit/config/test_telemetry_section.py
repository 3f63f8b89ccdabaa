import pytest
from pydantic import ValidationError

from shipway.config.sections.telemetry import Logging, Telemetry, Traces


def test_by_default_nothing_is_traced_and_questions_are_hashed():
    assert Telemetry().traces.exporter == "none"
    assert Logging().question == "hash"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"exporter": "otlp"}, "needs endpoint"),
        ({"exporter": "file", "endpoint": "http://127.0.0.1:4318/v1/traces"}, "need exporter otlp, not file"),
        ({"exporter": "otlp", "endpoint": "127.0.0.1:4318"}, "no http or https address"),
        ({"exporter": "otlp", "endpoint": "http://127.0.0.1:4318"}, "listens on http://127.0.0.1:4318/v1/traces"),
        ({"exporter": "otlp", "endpoint": "http://h/v1/traces", "headers": {"key": "sk-1"}}, "clear text"),
        ({"ratio": 1.1}, "less than or equal to 1"),
        ({"conventions": "1.36"}, "'1.41' or 'latest'"),
        ({"exporter": "jaeger"}, "'none', 'file' or 'otlp'"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_remedy(wrong, said):
    with pytest.raises(ValidationError, match=said):
        Traces(**wrong)


def test_a_header_is_a_secret_s_place():
    traces = Traces(exporter="otlp", endpoint="http://h/v1/traces", headers={"x-api-key": {"env": "LANGFUSE"}})
    assert traces.headers["x-api-key"].env == "LANGFUSE"
