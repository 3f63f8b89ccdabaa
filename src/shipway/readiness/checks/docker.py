"""DOCKER: what stands in the image, and as whom it runs."""

import re

from shipway.readiness.dockerfile import Dockerfile, argument_defaults, filled
from shipway.readiness.dockerignore import excluding, parse_dockerignore
from shipway.readiness.documents import manifests
from shipway.readiness.facts import Facts
from shipway.readiness.images import DOCKERFILE, WRITE_ONE, dockerfile_of
from shipway.readiness.model import Area, Check, Effort, Outcome, UndecidedError, failed, not_applicable, passed

_NO_FILE = "there is no Dockerfile"
# What must stay out, with files that stand for it: a pattern that keeps only the top folder clean is not enough.
_KEPT_OUT = {
    ".env": (".env",),
    ".git": (".git/config", ".git/objects/00/1"),
    "__pycache__": ("__pycache__/a.cpython-312.pyc", "app/inner/__pycache__/a.cpython-312.pyc"),
    "venv": ("venv/bin/python", ".venv/bin/python"),
    "*.pyc": ("a.pyc", "app/inner/a.pyc"),
}
_IGNORE = "write .dockerignore with the lines `.env`, `.git`, `**/__pycache__`, `venv`, `.venv`, `**/*.pyc`"


def user(facts: Facts) -> Outcome:
    """DOCKER-1."""
    found = dockerfile_of(facts)
    if found is None:
        return failed(_NO_FILE, WRITE_ONE)
    instruction = found.last("USER")
    fix = "before CMD: `USER 10001`"
    if instruction is None:
        return failed(
            "no USER holds in the final stage, so it runs as the base image's user, usually root",
            fix,
            facts.line(DOCKERFILE, found.stages[-1].line, f"FROM {found.stages[-1].written}"),
        )
    told = facts.line(DOCKERFILE, instruction.line, f"USER {instruction.value}")
    name = filled(instruction.value, _variables(found))
    if name is None:
        raise UndecidedError(
            f"USER {instruction.value} is known only when it is built", "write the user's number", (told,)
        )
    if name.split(":")[0].strip("\"'") in {"root", "0", ""}:
        return failed("the image runs as root", fix, told)
    return passed(told)


def _variables(found: Dockerfile) -> dict[str, str | None]:
    known: dict[str, str | None] = {}
    for stage in reversed(found.chain()):
        for item in stage.instructions:
            if item.name == "ARG":
                known.update(argument_defaults(item.value))
            elif item.name == "ENV":
                pairs = item.value.split() if "=" in item.value else ["=".join(item.value.split(None, 1))]
                known.update({word.partition("=")[0]: word.partition("=")[2].strip("\"'") for word in pairs})
    return known


def ignored(facts: Facts) -> Outcome:
    """DOCKER-2."""
    text = facts.the_repository().text(".dockerignore")
    if text is None:
        return failed("there is no .dockerignore, so everything gets into the build", _IGNORE)
    rules = parse_dockerignore(text)
    seen, missing = [], []
    for name, samples in _KEPT_OUT.items():
        kept = {sample: excluding(rules, sample) for sample in samples}
        missing += [f"{name} ({sample} gets in)" for sample, rule in kept.items() if rule is None]
        seen += [
            facts.line(".dockerignore", rule.line, f"`{rule.written}` keeps {name} out")
            for rule in kept.values()
            if rule is not None
        ]
    if missing:
        return failed("into the build get: " + ", ".join(missing), _IGNORE, *dict.fromkeys(seen))
    return passed(*dict.fromkeys(seen))


def pinned(facts: Facts) -> Outcome:
    """DOCKER-3."""
    found = dockerfile_of(facts)
    if found is None:
        return failed(_NO_FILE, WRITE_ONE)
    seen = []
    for stage in found.stages:
        if found.parent(stage) is not None or stage.image == "scratch":
            continue
        told = facts.line(DOCKERFILE, stage.line, f"FROM {stage.written}")
        if stage.image is None:
            raise UndecidedError(
                f"the base image {stage.written} is known only when it is built", "give the ARG a default", (told,)
            )
        tag = _tag(stage.image)
        if tag in {"", "latest"}:
            fix = f"name a version: `FROM {stage.image.removesuffix(':latest')}:VERSION`, better with its digest"
            return failed(f"{stage.image} means another image tomorrow", fix, told)
        seen.append(told)
    if not seen:
        return not_applicable(
            "no stage begins from another image", facts.line(DOCKERFILE, found.stages[0].line, "scratch")
        )
    return passed(*seen)


def _tag(image: str) -> str:
    if "@sha256:" in image:
        return "digest"
    return image.rsplit("/", 1)[-1].partition(":")[2]


def healthcheck(facts: Facts) -> Outcome:
    """DOCKER-4."""
    found = dockerfile_of(facts)
    if found is None:
        return failed(_NO_FILE, WRITE_ONE)
    instruction = found.last("HEALTHCHECK")
    fix = "`HEALTHCHECK CMD python -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health')\"`"
    if instruction is None:
        return failed(
            "no HEALTHCHECK holds in the final stage", fix, facts.line(DOCKERFILE, found.stages[-1].line, "final stage")
        )
    told = facts.line(DOCKERFILE, instruction.line, f"HEALTHCHECK {instruction.value[:60]}")
    if instruction.value.strip().upper() == "NONE":
        return failed("HEALTHCHECK NONE switches it off", fix, told)
    if not re.search(r"(?:^|\s)CMD\s+\S", instruction.value):
        return failed("HEALTHCHECK without a command", fix, told)
    return passed(told)


def size(facts: Facts) -> Outcome:
    """DOCKER-5: an image is not in the repository."""
    if dockerfile_of(facts) is None:
        return failed(_NO_FILE, WRITE_ONE)
    raise UndecidedError(
        "the size of an image is not in the repository",
        "`docker image inspect IMAGE --format '{{.Size}}'`, then attest it",
    )


def stateless(facts: Facts) -> Outcome:
    """DOCKER-6: what is seen to keep state fails; that nothing else does can only be stated."""
    project, found = facts.the_project(), dockerfile_of(facts)
    if project.memory.routes and project.memory.store == "memory":
        return failed(
            "conversations are remembered in one worker's memory",
            "`memory: { store: redis }` or `store: state`",
            facts.setting("memory", "store"),
        )
    volume = found.last("VOLUME") if found is not None else None
    if volume is not None:
        told = facts.line(DOCKERFILE, volume.line, f"VOLUME {volume.value}")
        return failed("the image declares a volume of its own", "remove the VOLUME line; keep data in a service", told)
    for item in manifests(facts.the_repository()).found:
        if item.data["kind"] == "StatefulSet" and project.app in str(item.data.get("metadata")):
            told = facts.line(item.path, item.line("kind"), "StatefulSet")
            return failed("the app runs as a StatefulSet", "make it a Deployment", told)
    raise UndecidedError("nothing was seen that keeps state; that nothing does cannot be seen", "attest it")


CHECKS = (
    Check(
        Area.DOCKER,
        1,
        "The image runs as a user that is not root",
        "D 11",
        1,
        "whoever breaks out of a root container owns the host",
        user,
        effort=Effort.LINE,
    ),
    Check(
        Area.DOCKER,
        2,
        ".dockerignore keeps secrets, history and caches out",
        "D 11",
        1,
        "what is copied in by accident is in every registry",
        ignored,
        effort=Effort.LINE,
    ),
    Check(
        Area.DOCKER,
        3,
        "Base images are pinned",
        "D 11",
        1,
        "the same Dockerfile must build the same image",
        pinned,
        effort=Effort.LINE,
    ),
    Check(
        Area.DOCKER,
        4,
        "The image has a health check",
        "D 11",
        1,
        "it is what containerised means on the ladder",
        healthcheck,
        effort=Effort.LINE,
    ),
    Check(
        Area.DOCKER,
        5,
        "The image is smaller than 2 GB",
        "D 11",
        2,
        "large images make automatic deploys and restarts slow",
        size,
        "the image's size in bytes and how it was measured",
        Effort.STATEMENT,
    ),
    Check(
        Area.DOCKER,
        6,
        "Containers keep no state",
        "A 12",
        2,
        "a deploy replaces containers; what was in them is gone",
        stateless,
        "where everything that must survive a container is kept",
        Effort.STATEMENT,
    ),
)
