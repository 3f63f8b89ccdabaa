"""The stage `image` with a real builder and a real registry: Debian's buildah and docker-registry, where installed.

The image is made from nothing (`FROM scratch`), so that no other one has to be fetched.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cli.conftest import App

PROGRAMS = ("buildah", "docker-registry")
pytestmark = [
    pytest.mark.tools,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)), reason="apt-get install --no-install-recommends buildah docker-registry"
    ),
]
ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
PROJECT = """app: img
models: {{ e: {{ engine: echo, model: echo }} }}
routes: {{ chat: {{ kind: chat, model: e }} }}
pipeline:
  release: {{ uses: release }}
  image:
    uses: image
    needs: [release]
    env: [STORAGE_DRIVER, BUILDAH_ISOLATION, CONTAINERS_REGISTRIES_CONF]
    with: {{ repository: "{registry}/team/img", builder: buildah, push: true }}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Start a registry on this machine; return its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    settings = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "kept")}}}
    (tmp_path / "registry.yml").write_text(json.dumps(settings | {"http": {"addr": address}}))
    with subprocess.Popen(["docker-registry", "serve", str(tmp_path / "registry.yml")]) as process:
        try:
            until_answered(f"http://{address}/v2/")
            yield address
        finally:
            process.terminate()


def until_answered(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def answer(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=ACCEPT), timeout=10) as found:
        return found.read(), found.headers.get("Docker-Content-Digest", "")


def test_what_is_built_and_pushed_is_what_the_registry_has(
    tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(tmp_path / "app")
    app.write("shipway.yaml", PROJECT.format(registry=registry))
    app.write("Dockerfile", "FROM scratch\nCOPY app.txt /app.txt\n")
    app.write("app.txt", "hello\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", "-C", app.root, *who, *arguments], check=True)
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    monkeypatch.setenv("STORAGE_DRIVER", "vfs")
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))

    done = app.run("pipeline", "run", "--json")

    release, image = done.json["stages"]
    assert (done.code, image["problem"]) == (0, "")
    told = image["outputs"]
    tags = json.loads(answer(f"http://{registry}/v2/team/img/tags/list")[0])["tags"]
    assert told["image"] == f"{registry}/team/img:{tags[0]}"
    assert tags[0].endswith(release["outputs"]["release"])
    manifest, digest = answer(f"http://{registry}/v2/team/img/manifests/{tags[0]}")
    assert (told["builder"], told["pushed"], told["digest"]) == ("buildah", True, digest)
    assert told["pinned"] == f"{registry}/team/img@{digest}"
    config = json.loads(manifest)["config"]["digest"]
    labels = json.loads(answer(f"http://{registry}/v2/team/img/blobs/{config}")[0])["config"]["Labels"]
    assert labels["dev.shipway.release"] == release["outputs"]["release"]
