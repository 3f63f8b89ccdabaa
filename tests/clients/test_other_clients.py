"""Other people's programs against the gateway, each in an environment of its own: `make test-clients` makes those."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENT = ROOT / ".venv-clients"
PYTHON = ENVIRONMENT / "python" / "bin"
NODE = ENVIRONMENT / "node"

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


def run(gateway: Any, argv: list[Any], cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "BASE_URL": gateway.url + "/v1",
        "OPENAI_BASE_URL": gateway.url + "/v1",
        "KEY": gateway.key,
        "OPENAI_API_KEY": gateway.key,
        "NODE_PATH": str(NODE / "node_modules"),
        "HF_HUB_OFFLINE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **extra,
    }
    return subprocess.run(
        [str(part) for part in argv], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def found(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def node(gateway: Any, tmp_path: Path, name: str) -> Any:
    # Node looks for a module's packages beside the module.
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    program = tmp_path / name
    program.write_text((PROGRAMS / name).read_text())
    return found(run(gateway, ["node", program], tmp_path))


def test_litellm_as_a_client(gateway, tmp_path):
    told = found(run(gateway, [PYTHON / "python", PROGRAMS / "litellm_client.py"], tmp_path))

    assert (told["text"], told["streamed"], told["stream_usage"]) == ("red green blue", "red green blue", True)
    assert told["tool"] == {"city": "red green blue"}
    assert told["vectors"] == 2
    assert told["errors"] == {
        "unknown": "NotFoundError",
        "key": "AuthenticationError",
        "rate": "RateLimitError",
        "server": "BadGatewayError",
        "request": "BadRequestError",
    }
    said, error = told["cut"]
    assert said
    assert error != "nothing"


def test_openais_sdk_for_node(gateway, tmp_path):
    told = node(gateway, tmp_path, "openai_node.mjs")

    assert (told["text"], told["streamed"], told["response"]) == ("red green blue", "red green blue", "hello")
    assert told["stream_usage"]
    assert told["tool"] == {"city": "red green blue"}
    assert told["vectors"] == [8, 8]
    assert "chat" in told["models"]
    assert told["kinds"] == ["response.created", "response.completed"]
    assert told["shaped"] == {"name": "red green blue"}
    errors = told["errors"]
    assert {name: error["name"] for name, error in errors.items()} == {
        "unknown": "NotFoundError",
        "rate": "RateLimitError",
        "server": "InternalServerError",
        "request": "BadRequestError",
        "key": "AuthenticationError",
    }
    assert all(error["request"].startswith("req_") for error in errors.values())
    said, error = told["cut"]
    assert said
    assert error == "APIError"
    assert told["retried"]["calls"] == 2
    assert told["retried"]["waited_ms"] >= 950
    assert [record.status for record in gateway.records if record.model == "echo:slow=20"] == [499]


def test_a_websocket_as_a_browser_opens_it(gateway, tmp_path):
    told = node(gateway, tmp_path, "browser_socket.mjs")

    assert (told["code"], told["protocol"]) == (1000, "shipway")
    said = [item["choices"][0]["delta"].get("content", "") for item in told["found"][:-1] if item["choices"]]
    assert "".join(said) == "red green"
    assert told["found"][-1]["request_id"] == gateway.records[0].id


def test_lm_evals_local_chat_completions(gateway, tmp_path):
    words = ["red", "green blue", "one two three"]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"question": word, "answer": word}) + "\n" for word in words))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    task = (PROGRAMS / "lm_eval_task.yaml").read_text().replace("DATA_FILE", str(data))
    (tasks / "repeat.yaml").write_text(task)
    arguments = f"model=chat,base_url={gateway.url}/v1/chat/completions,num_concurrent=2,max_retries=1"
    argv = [PYTHON / "lm_eval", "run", "--model", "local-chat-completions", "--model_args", arguments]
    argv += ["--tasks", "repeat_after_me", "--include_path", tasks, "--apply_chat_template"]
    done = run(gateway, [*argv, "--output_path", tmp_path / "out"], tmp_path, HF_HOME=str(tmp_path / "hf"))

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["results"]["repeat_after_me"]["exact_match,none"] == 1.0
    assert len(gateway.records) == 3


def test_promptfoos_openai_provider(gateway, tmp_path):
    out = tmp_path / "out.json"
    quiet = dict.fromkeys(("TELEMETRY", "UPDATE", "REMOTE_GENERATION"), "1")
    settings = {f"PROMPTFOO_DISABLE_{name}": value for name, value in quiet.items()}
    settings["PROMPTFOO_CONFIG_DIR"] = str(tmp_path)
    argv = [NODE / "node_modules" / ".bin" / "promptfoo", "eval", "-c", PROGRAMS / "promptfoo.yaml", "-o", out]
    done = run(gateway, [*argv, "--no-cache", "--no-table", "--no-share"], tmp_path, **settings)

    assert out.exists(), done.stdout[-2000:] + done.stderr[-3000:]
    results = {item["provider"]["id"]: item for item in json.loads(out.read_text())["results"]["results"]}
    good, bad = results["openai:chat:chat"], results["openai:chat:chat-error_500"]
    assert good["success"]
    assert good["response"]["tokenUsage"]["total"] > 3
    assert not bad["success"]
    assert "502" in bad["error"]
