import pytest

from shipway.config.changes import Changes, changes, obeyable
from shipway.config.loading import load_project
from shipway.config.project import Project

BASE = """
app: shop
models:
  far: { engine: openai, model: large, base_url: "http://127.0.0.1:1/v1" }
  here: { engine: echo, model: echo }
routes: { chat: { kind: chat, model: far } }
"""


@pytest.fixture
def loaded(tmp_path):
    def load(text: str) -> Project:
        (tmp_path / "shipway.yaml").write_text(text)
        return load_project(tmp_path, {}).project

    return load


@pytest.mark.parametrize(
    ("more", "when", "keys"),
    [
        ("rates: { per_key_min: 7 }", "now", ("rates.per_key_min",)),
        ("cache: { routes: { chat: { ttl_s: 5 } } }", "now", ("cache.routes.chat.ttl_s",)),
        ("routing: { retries: { attempts: 1 } }", "now", ("routing.retries.attempts",)),
        ("server: { max_active: 5 }", "now", ("server.max_active",)),
        ("telemetry: { metrics_public: true }", "now", ("telemetry.metrics_public",)),
        ("tenants: { acme: { per_key_min: 3 } }", "now", ("tenants.acme.per_key_min",)),
        ("server: { workers: 3, port: 81 }", "at_start", ("server.port", "server.workers")),
        ("redis: { url: { env: REDIS } }", "at_restart", ("redis.url.env",)),
        ("logging: { level: DEBUG }", "at_restart", ("logging.level",)),
        ("routing: { default: here }", "with_release", ("routing.default",)),
        ("safety: { refusal: sorry }", "with_release", ("safety.refusal",)),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_each_key_takes_effect_when_it_can(loaded, more, when, keys):
    found = changes(loaded(BASE), loaded(BASE + more))

    named = getattr(found, when)
    assert set(keys) <= set(named)
    others = {
        name for name in ("now", "at_restart", "at_start", "with_release") if name != when and getattr(found, name)
    }
    assert others == set()


def test_models_change_their_address_at_once_their_name_with_a_release_and_an_engine_of_ours_with_a_start(loaded):
    wanted = BASE.replace("127.0.0.1:1", "127.0.0.1:2").replace("model: large", "model: larger")
    wanted = wanted.replace("{ engine: echo, model: echo }", "{ engine: echo, model: echo, threads: 2 }")

    found = changes(loaded(BASE), loaded(wanted))

    assert found.now == ("models.far.base_url",)
    assert found.with_release == ("models.far.model",)
    assert found.at_start == ("models.here.threads",)


def test_what_only_commands_read_is_no_change_for_a_process(loaded):
    assert changes(loaded(BASE), loaded(BASE + "gates: [{ metric: correct, min: 0.2 }]\n")) == Changes()


def test_what_a_process_can_obey_leaves_out_what_a_new_one_changes(loaded):
    running = loaded(BASE)
    wanted = loaded(
        BASE + "server: { port: 81, max_active: 5 }\nlogging: { level: DEBUG }\nrates: { per_key_min: 7 }\n"
    )

    found = obeyable(running, wanted)

    assert (found.server.port, found.logging.level) == (0, "INFO")
    assert (found.server.max_active, found.rates.per_key_min) == (5, 7)
    # What it does not obey yet is still named when the file is looked at again.
    assert changes(found, wanted).at_start == ("server.port",)


def test_when_a_section_takes_effect_is_decided_for_every_section():
    at_once = {"auth", "cache", "key_limits", "memory", "quality", "rates", "shadow", "tenants"}
    # Their keys take effect at different times.
    divided = {"budgets", "models", "routing", "server", "telemetry"}
    later = {"app", "code", "corpus", "decoding", "logging", "prompts", "redis", "retrieval", "routes", "safety"}
    of_commands = {"ci", "contacts", "datasets", "evals", "gates", "judges", "pipeline", "rollout", "webhooks"}

    assert set(Project.model_fields) == at_once | divided | later | of_commands
