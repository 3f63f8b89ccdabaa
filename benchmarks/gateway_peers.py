"""What the gateway is compared with: nothing in between, nginx as a plain proxy, LiteLLM's proxy, Portkey.

The last two are installed on demand from the pinned files in `peers/`, each into a folder of its own under `.bench/`.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway_load import Load, Upstream
from gateway_processes import Processes

PINS = Path(__file__).resolve().parent / "peers"
INSTALLED = Path(__file__).resolve().parent.parent / ".bench"
_KEY = "sk-benchmark"
_INSTALL_S = 1800


@dataclass(frozen=True, slots=True)
class Launch:
    """How a contender's processes are started; one argv for each process.

    `warmup_s` is how long it is used before anything is measured: Node compiles what runs often, LiteLLM imports much
    of itself with the first requests.
    """

    argv: Sequence[Sequence[str | Path]]
    environ: Mapping[str, str]
    model: str
    headers: Mapping[str, str]
    warmup_s: float = 1.0
    start_s: float = 60.0


class Contender(Protocol):
    """One row of the comparison."""

    @property
    def name(self) -> str:
        """The row's name."""
        ...

    @property
    def workers(self) -> int:
        """How many gateway processes it has."""
        ...

    def measures(self, load: Load) -> bool:
        """Return whether a load is put on this row."""
        ...

    def version(self) -> str:
        """Return what is measured."""
        ...

    def prepare(self, folder: Path, upstream: Upstream, port: int) -> Launch:
        """Write its configuration into an empty folder; called once before each start."""
        ...


class _Whole:
    """A contender that gets every load."""

    __slots__ = ()

    def measures(self, load: Load) -> bool:
        """Return yes."""
        del load
        return True


@dataclass(frozen=True, slots=True)
class Nginx(_Whole):
    """A plain proxy: keep-alive on both sides, one worker, nothing else."""

    name: str = "nginx"
    workers: int = 1

    def version(self) -> str:
        """Return nginx's version."""
        done = subprocess.run([_nginx(), "-v"], check=True, capture_output=True, text=True)
        return done.stderr.strip().rpartition("/")[2]

    def prepare(self, folder: Path, upstream: Upstream, port: int) -> Launch:
        """Write nginx.conf."""
        text = (PINS / "nginx.conf.in").read_text(encoding="utf-8")
        values = {
            "FOLDER": str(folder),
            "USER": pwd.getpwuid(os.getuid()).pw_name,
            "PORT": str(port),
            "UPSTREAM": str(upstream.port),
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        path = folder / "nginx.conf"
        path.write_text(text, encoding="utf-8")
        argv: list[str | Path] = [_nginx(), "-p", folder, "-c", path, "-e", folder / "error.log"]
        return Launch([argv], {}, "bench-model", {})


def _nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit("nginx is not installed; on Debian: apt-get install nginx-light")
    return found


@dataclass(frozen=True, slots=True)
class LiteLlm(_Whole):
    """LiteLLM's proxy with one worker and a master key."""

    name: str = "litellm"
    workers: int = 1

    def version(self) -> str:
        """Return the installed version."""
        code = "import importlib.metadata as m; print(m.version('litellm'))"
        done = subprocess.run([self._python(), "-c", code], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def _python(self) -> Path:
        return INSTALLED / "litellm" / "bin" / "python"

    def install(self) -> None:
        """Install it and compile its byte code: without, it would compile at each start."""
        home, pins = INSTALLED / "litellm", PINS / "litellm.txt"
        stamp = home / "installed.txt"
        if stamp.exists() and stamp.read_bytes() == pins.read_bytes():
            return
        print("installing LiteLLM (about two minutes)", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _quietly([sys.executable, "-m", "venv", str(home)])
        pip = [str(self._python()), "-m", "pip", "--disable-pip-version-check"]
        _quietly([*pip, "install", "--quiet", "--require-hashes", "-r", str(pins)])
        _quietly([str(self._python()), "-m", "compileall", "-q", str(home / "lib")], codes=(0, 1))
        shutil.copy(pins, stamp)

    def prepare(self, folder: Path, upstream: Upstream, port: int) -> Launch:
        """Write config.yaml."""
        parameters = {"model": "openai/bench-model", "api_base": upstream.url, "api_key": "none"}
        config = {
            "model_list": [{"model_name": "chat", "litellm_params": parameters}],
            "general_settings": {"master_key": _KEY, "disable_spend_logs": True},
            "litellm_settings": {"request_timeout": 600, "num_retries": 0, "telemetry": False},
        }
        path = folder / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        program = INSTALLED / "litellm" / "bin" / "litellm"
        argv: list[str | Path] = [self._python(), program, "--config", path, "--host", "127.0.0.1", "--port", str(port)]
        environ = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network for prices at the start
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "NO_DOCS": "True",
            "PYTHONPATH": "",
        }
        return Launch([[*argv, "--num_workers", "1"]], environ, "chat", {"authorization": f"Bearer {_KEY}"}, 8.0, 120.0)


@dataclass(frozen=True, slots=True)
class Portkey(_Whole):
    """Portkey's open-source gateway on Node."""

    name: str = "portkey"
    workers: int = 1

    def version(self) -> str:
        """Return the installed version."""
        manifest = INSTALLED / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
        return str(json.loads(manifest.read_text(encoding="utf-8"))["version"])

    def install(self) -> None:
        """Install it; the pin of `@hono/node-server` is there because streams fail with a newer one."""
        home, pins = INSTALLED / "portkey", PINS / "portkey"
        stamp = home / "installed.json"
        lock = pins / "package-lock.json"
        if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
            return
        print("installing Portkey", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(pins, home)
        _quietly(["npm", "ci", "--omit=dev", "--no-audit", "--no-fund"], cwd=home)
        shutil.copy(lock, stamp)

    def prepare(self, folder: Path, upstream: Upstream, port: int) -> Launch:
        """Configuration is in the request's headers."""
        del folder
        program = INSTALLED / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        headers = {
            "authorization": f"Bearer {_KEY}",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": upstream.url,
        }
        argv: list[str | Path] = ["node", "--require", INSTALLED / "portkey" / "loopback.cjs", program]
        environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
        return Launch([[*argv, "--headless", f"--port={port}"]], environ, "bench-model", headers, warmup_s=12.0)


def _quietly(argv: Sequence[str], *, cwd: Path | None = None, codes: Sequence[int] = (0,)) -> None:
    done = subprocess.run(argv, check=False, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL_S)
    if done.returncode not in codes:
        said = f"{done.stdout[-800:]}{done.stderr[-1600:]}"
        raise RuntimeError(f"{' '.join(argv[:4])} ended with {done.returncode}:\n{said}")


def start(contender: Contender, launch: Launch, processes: Processes, cpus: Sequence[int]) -> "list[Started]":
    """Start all processes of a contender."""
    return [
        processes.start(argv, name=f"{contender.name}-{number}", cpus=cpus, environ=launch.environ)
        for number, argv in enumerate(launch.argv)
    ]


Started = subprocess.Popen[bytes]
