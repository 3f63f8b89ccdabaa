"""The requests of a load test: from a plan, a file, or the project's recorded and masked traffic."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import anyio
import orjson

from shipway import __version__
from shipway.core.errors import NotFoundError
from shipway.load.plan import LoadPlan, Template
from shipway.load.plan_file import PlanFile, RequestSection, mix_rows, template
from shipway.services.application import Application
from shipway.services.load.asking import Prepared
from shipway.services.replays.traffic import Recorded, Source, Wanted, recorded_traffic

DEFAULT = RequestSection(name="question", prompt="Tell me in two sentences what a lighthouse is for.", max_tokens=64)
RECORDED = "recorded"


async def templates_of(file: PlanFile, model: str) -> list[Template]:
    """Return the requests of a plan or of its file of requests; one question where it names none.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: everything that is wrong with it.
    """
    rows: Sequence[RequestSection] = file.requests or (DEFAULT,)
    if file.requests_file is not None:
        path = file.folder / file.requests_file
        try:
            rows = mix_rows(await anyio.Path(path).read_bytes(), path.name)
        except OSError as error:
            raise NotFoundError(f"requests_file {path}: {error.strerror or error}") from error
    return [template(row, f"request-{number}", model) for number, row in enumerate(rows, start=1)]


async def recorded_templates(app: Application, file: PlanFile, model: str) -> tuple[list[Template], Recorded]:
    """Return the project's recorded questions, each as often as it was asked.

    Raises:
        NotFoundError: no text was kept.
        UsageError: several routes have texts.
    """
    section = file.recorded
    wanted = Wanted() if section is None else Wanted(
        Source.RECORDS if section.log is None else Source.LOG,
        None if section.log is None else file.folder / section.log,
        section.route or file.route,
        section.limit,
    )  # fmt: skip
    recorded = await recorded_traffic(app, wanted)
    found = [
        template(RequestSection(name=RECORDED, prompt=case.question, weight=_times(case.metadata)), RECORDED, "")
        for case in recorded.dataset.cases
    ]
    asked = model or recorded.route
    return [Template(item.name, {**item.body, "model": asked}, item.weight, item.path) for item in found], recorded


def _times(metadata: Mapping[str, Any]) -> float:
    times = metadata.get("times", 1)
    return float(times) if isinstance(times, int) and times > 0 else 1.0


@dataclass(slots=True)
class Mix:
    """Draws requests by weight and makes them ready to send."""

    templates: Sequence[Template]
    server: str
    plan: LoadPlan
    key: str = field(default="", repr=False)
    _weights: list[float] = field(init=False)
    _headers: tuple[tuple[str, str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Add up the weights."""
        self._weights = list(accumulate(item.weight for item in self.templates))
        headers = [("content-type", "application/json"), ("accept-encoding", "identity")]
        headers.append(("user-agent", f"shipway/{__version__}"))
        if self.key:
            headers.append(("authorization", f"Bearer {self.key}"))
        self._headers = tuple(headers)

    def prepare(self, rng: random.Random) -> Prepared:
        """Return the next request."""
        chosen = rng.choices(self.templates, cum_weights=self._weights)[0]
        body = dict(chosen.body)
        if self.plan.stream and chosen.path.endswith("/chat/completions"):
            body.setdefault("stream", True)
            if body["stream"]:
                body.setdefault("stream_options", {"include_usage": True})
        if self.plan.unique:
            body = _with_nonce(body, f"({rng.getrandbits(48):012x}) ")
        data = orjson.dumps(body)
        return Prepared(chosen.name, f"{self.server}{chosen.path}", data, self._headers, bool(body.get("stream")))


def _with_nonce(body: dict[str, Any], nonce: str) -> dict[str, Any]:
    """Put something else before the last question each time, so that no cache can answer it."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), str):
            changed = [*messages]
            changed[index] = {**message, "content": nonce + message["content"]}
            return {**body, "messages": changed}
    return body
