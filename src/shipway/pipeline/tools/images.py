"""Programs that build container images: how each is called, and where it leaves the digest.

Source: the documentation of docker buildx and buildctl (`--metadata-file`), buildah (`--digestfile`) and kaniko
(`--digest-file`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shipway.pipeline.tools.model import SCRATCH, UnreadableOutputError
from shipway.pipeline.tools.reading import json_of

BUILDERS: Mapping[str, str] = {"buildctl": "buildctl", "docker": "docker", "buildah": "buildah", "kaniko": "executor"}
"""The programs of the builders, in the order in which they are looked for."""
INSTALL = "install docker with buildx, or buildctl with a running buildkitd, or buildah"
_METADATA, _DIGEST_FILE = "metadata.json", "digest"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NOT_TAG = re.compile(r"[^A-Za-z0-9_.-]+")
_TAG_CHARS = 128
_SHA_CHARS = 12


@dataclass(frozen=True, slots=True)
class ImageBuild:
    """One image as it is to be built; `secrets` are paths of files by name."""

    name: str
    """With its tag."""
    dockerfile: str = "Dockerfile"
    context: str = "."
    target: str = ""
    platforms: Sequence[str] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    push: bool = False
    arguments: Sequence[str] = ()

    def argv(self, builder: str) -> tuple[str, ...]:
        """Return the call of a builder."""
        calls = {"buildctl": self._buildctl, "docker": self._docker, "buildah": self._buildah, "kaniko": self._kaniko}
        return calls[builder]()

    def push_argv(self, builder: str) -> tuple[str, ...]:
        """Return the call that pushes afterwards, empty where the build itself does."""
        if builder == "buildah" and self.push:
            return ("buildah", "push", "--digestfile", f"{SCRATCH}/{_DIGEST_FILE}", self.name)
        return ()

    def _docker(self) -> tuple[str, ...]:
        words = ["docker", "buildx", "build", "--file", self.dockerfile, "--tag", self.name]
        words += ["--metadata-file", f"{SCRATCH}/{_METADATA}", "--progress", "plain"]
        words += ["--push"] if self.push else ["--load"] if len(self.platforms) <= 1 else []
        words += _each("--platform", [",".join(self.platforms)] if self.platforms else [])
        words += _each("--secret", (f"id={name},src={path}" for name, path in self.secrets.items()))
        return (*words, *self._shared(), *self.arguments, self.context)

    def _buildah(self) -> tuple[str, ...]:
        words = ["buildah", "build", "--file", self.dockerfile, "--tag", self.name]
        words += _each("--platform", [",".join(self.platforms)] if self.platforms else [])
        words += _each("--secret", (f"id={name},src={path}" for name, path in self.secrets.items()))
        return (*words, *self._shared(), *self.arguments, self.context)

    def _buildctl(self) -> tuple[str, ...]:
        folder, _, file = self.dockerfile.rpartition("/")
        words = ["buildctl", "build", "--frontend", "dockerfile.v0", "--local", f"context={self.context}"]
        words += ["--local", f"dockerfile={folder or '.'}", "--opt", f"filename={file}", "--progress", "plain"]
        words += ["--opt", f"target={self.target}"] if self.target else []
        words += ["--opt", f"platform={','.join(self.platforms)}"] if self.platforms else []
        words += _each("--opt", (f"build-arg:{name}={value}" for name, value in self.build_args.items()))
        words += _each("--opt", (f"label:{name}={value}" for name, value in self.labels.items()))
        words += _each("--secret", (f"id={name},src={path}" for name, path in self.secrets.items()))
        words += ["--output", f"type=image,name={self.name},push={'true' if self.push else 'false'}"]
        return (*words, "--metadata-file", f"{SCRATCH}/{_METADATA}", *self.arguments)

    def _kaniko(self) -> tuple[str, ...]:
        words = ["executor", f"--dockerfile={self.dockerfile}", f"--context={self.context}"]
        words += [f"--destination={self.name}", f"--digest-file={SCRATCH}/{_DIGEST_FILE}"]
        words += [] if self.push else ["--no-push"]
        words += [f"--custom-platform={platform}" for platform in self.platforms[:1]]
        return (*words, *self._shared(), *self.arguments)

    def _shared(self) -> list[str]:
        target = ["--target", self.target] if self.target else []
        arguments = _each("--build-arg", (f"{name}={value}" for name, value in self.build_args.items()))
        return [*target, *arguments, *_each("--label", (f"{name}={value}" for name, value in self.labels.items()))]


def image_tag(commit: str, release: str, dataset: str) -> str:
    """Return the tag that says what is in the image: commit, release and dataset, as far as they are known.

    Source: OCI distribution specification, tags: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    """
    sha, _, changed = commit.partition("-")
    parts = [
        sha[:_SHA_CHARS] + (f"-{changed}" if changed else ""),
        release,
        dataset.removeprefix("sha256:")[:_SHA_CHARS],
    ]
    cleaned = (_NOT_TAG.sub("-", part).strip("-.") for part in parts)
    return "-".join(part for part in cleaned if part)[:_TAG_CHARS].rstrip("-.")


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the digest of the image that a builder left; empty when it left none.

    Raises:
        UnreadableOutputError: what it left holds no digest.
    """
    if _METADATA in files:
        found = json_of(files[_METADATA], dict, "the builder's metadata file")
        digest = str(found.get("containerimage.digest") or found.get("containerimage.config.digest") or "")
    elif _DIGEST_FILE in files:
        digest = files[_DIGEST_FILE].decode(errors="replace").strip()
    else:
        return ""
    if not _DIGEST.fullmatch(digest):
        raise UnreadableOutputError(f"the builder's metadata has no digest: {digest[:80]!r}")
    return digest


def components_of(data: bytes) -> int:
    """Return how many components a CycloneDX document lists.

    Raises:
        UnreadableOutputError: it is none.
    """
    found = json_of(data, dict, "the SBOM")
    if found.get("bomFormat") != "CycloneDX":
        raise UnreadableOutputError("the SBOM is no CycloneDX document")
    return len(found.get("components") or ())


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
