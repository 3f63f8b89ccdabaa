import pytest

from shipway.core.errors import ConfigError

PROJECT = """app: shop
models:
  small: {{ engine: echo, model: echo }}
routes:
  chat: {{ kind: chat, model: small }}
  service: {{ kind: http, url: "http://127.0.0.1:3" }}
{sections}
"""


def project(*lines: str) -> str:
    return PROJECT.format(sections="\n".join(lines))


def test_nothing_is_kept_by_default(load):
    made = load(project()).project

    assert made.cache.routes == {}
    assert made.memory.routes == {}
    assert made.shadow.keep_answers == 0


def test_the_documented_example_is_valid(load):
    made = load(project("cache: { routes: { chat: { ttl_s: 3600 } } }", "memory: { routes: { chat: {} } }")).project

    assert made.cache.routes["chat"].ttl_s == 3600
    assert not made.cache.routes["chat"].semantic


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cache: { routes: { chta: {} } }", "'chta' is not in routes"),
        ("cache: { routes: { service: {} } }", "cache is for chat or rag"),
        ("memory: { routes: { service: {} } }", "memory is for chat"),
        ("cache: { store: redis }", "needs a section redis"),
        ("memory: { store: redis }", "needs a section redis"),
        ("cache: { routes: { chat: { semantic: true } } }", "cache.embedding"),
        ("cache: { routes: { chat: { ttl_s: 0 } } }", "ttl_s"),
        ("cache: { max_false_hit_rate: 0.5 }", "max_false_hit_rate"),
        ("shadow: { max_queued: 0 }", "max_queued"),
    ],
)
def test_what_cannot_work_is_refused_with_its_line(load, line, said):

    with pytest.raises(ConfigError) as caught:
        load(project(line))
    [problem] = caught.value.problems
    assert problem.startswith("shipway.yaml:7:")
    assert said in problem
