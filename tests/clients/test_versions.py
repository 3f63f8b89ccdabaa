"""The table of clients that were tried names the versions that the lock files install."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pinned(requirements: str, name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", (ROOT / "requirements" / requirements).read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def installed(name: str) -> str:
    lock = json.loads((ROOT / "tests/clients/programs/package-lock.json").read_text())
    return str(lock["packages"][f"node_modules/{name}"]["version"])


@pytest.mark.parametrize(
    ("client", "version"),
    [
        ("OpenAI SDK for Python", pinned("dev.txt", "openai")),
        ("OpenAI SDK for Node", f"{installed('openai')} (Node 20)"),
        ("LiteLLM's SDK", f"{pinned('clients.txt', 'litellm')} (with OpenAI {pinned('clients.txt', 'openai')})"),
        ("`lm_eval`, `local-chat-completions`", pinned("clients.txt", "lm-eval")),
        ("promptfoo, OpenAI provider", installed("promptfoo")),
        ("`ws` as a browser opens a WebSocket", f"{installed('ws')} (Node 20)"),
    ],
    ids=["openai-python", "openai-node", "litellm", "lm-eval", "promptfoo", "ws"],
)
def test_the_page_names_the_version_that_is_locked(client, version):
    assert f"\n| {client} | {version} | " in (ROOT / "docs/reference/engines.md").read_text()


def test_what_npm_installs_is_locked_by_hash_and_names_no_address():
    lock = json.loads((ROOT / "tests/clients/programs/package-lock.json").read_text())
    wanted = json.loads((ROOT / "tests/clients/programs/package.json").read_text())["dependencies"]

    assert lock["packages"][""]["dependencies"] == wanted
    assert [name for name, item in lock["packages"].items() if name and not item.get("integrity")] == []
    assert [name for name, item in lock["packages"].items() if "resolved" in item] == []
