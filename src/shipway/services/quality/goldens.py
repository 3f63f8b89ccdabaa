"""Goldens: known cases asked of a route all the time, as its users ask it; the control process runs this.

Which cases a turn asks is drawn by chance from the dataset and the turn's number alone, so that several processes draw
the same and a turn is observed once. Nothing decides the arm but the conversation, as with any user: a candidate
gets its share of the goldens. A case that got no answer is an ERROR and no observation: it is counted, never scored.
"""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from shipway.config.secrets import resolve_secret
from shipway.config.sections.quality import Goldens
from shipway.core.errors import ShipwayError
from shipway.core.observation import GOLDEN, GOLDEN_CONVERSATION, SAFETY, Observation
from shipway.core.snapshot import Snapshot
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.ports import HttpCall, HttpReply, JsonCaller
from shipway.evals.scoring import score_attempt
from shipway.services.application import Application
from shipway.services.dataset_files import load_project_dataset
from shipway.services.evaluation_scoring import Scoring, load_scoring
from shipway.services.quality.judging import ERROR_KIND
from shipway.services.running import require_endpoints
from shipway.services.targets.completions import output_of_reply
from shipway.services.targets.openai_endpoint import request_body
from shipway.services.targets.replies import wrong_shape

CHECKED: Mapping[str, Metric] = {name: METRICS[name] for name in ("correct", "assertions", "refused")}
"""What a golden must satisfy, as far as it applies to the case; a judge has no part in it."""
SAFETY_TAG = "safety"

_PATH = "/v1/chat/completions"
_JSON = ("content-type", "application/json")
_RELEASE, _REQUEST, _CACHE = "x-shipway-release", "x-request-id", "x-shipway-cache"
_HIT = "hit"
_HOUR_S = 3600
_HOURS_KEPT = 24


@dataclass(frozen=True, slots=True)
class Answered:
    """A golden's answer and who gave it."""

    output: Output
    release: str
    request_id: str


@dataclass(slots=True)
class GoldenAsker:
    """Asks the goldens of one configuration; `last_turn` is the newest turn that this process has seen done."""

    app: Application
    goldens: Goldens
    caller: JsonCaller
    environ: Mapping[str, str]
    last_turn: int = -1
    _dataset: Dataset | None = None
    _scoring: Scoring | None = None
    _cases: tuple[Case, ...] = field(default=())

    async def ask(self) -> int:
        """Ask what this turn has to ask, unless it was done; return how many observations were new.

        Raises:
            ShipwayError: dataset, key or gateway are not there.
        """
        turn = int(self.app.clock.now_s() // self.goldens.every_s)
        if turn == self.last_turn:
            return 0
        if (await self._snapshot()).route(self.route) is None:
            return 0  # Nothing is deployed, which is nobody's failure.
        key = resolve_secret(self.goldens.api_key, root=self.app.loaded.root, environ=self.environ)
        dataset = await self._loaded(key)
        found = 0
        for number, case in enumerate(self._drawn(dataset, turn)):
            mark = f"{self.route}/{turn}/{number}"
            if await self._is_known(mark):
                continue
            try:
                answered = await self._answer(case, key, mark)
                item = await self._observed(case, answered, mark)
            except ShipwayError as error:
                await self._failed(turn, error)
                continue
            found += await self.app.state.observations.append([item])
        self.last_turn = turn
        return found

    @property
    def route(self) -> str:
        """Return the route that is asked."""
        project = self.app.project
        only = [name for name, route in project.routes.items() if route.kind in {"chat", "rag"}]
        return self.goldens.route or project.evals.route or only[0]

    async def _loaded(self, key: str) -> Dataset:
        if self._dataset is None or self._scoring is None:
            dataset = await load_project_dataset(self.app.loaded, self.goldens.dataset)
            self._scoring = await load_scoring(self.app, dataset, CHECKED)
            tenant = await self._tenant(key)
            # What another tenant asks has another right answer for this key.
            self._cases = tuple(
                case
                for case in dataset.cases
                if any(metric.applies(case) for metric in CHECKED.values())
                and (not case.tenant or not tenant or case.tenant == tenant)
            )
            self._dataset = dataset
        return self._dataset

    def _drawn(self, dataset: Dataset, turn: int) -> list[Case]:
        draw = random.Random(f"{dataset.digest}/{turn}")  # noqa: S311 - which case, not a secret
        return [draw.choice(self._cases) for _ in range(self.goldens.cases)] if self._cases else []

    async def _tenant(self, key: str) -> str:
        digest = hashlib.sha256(key.encode()).hexdigest()
        entries = await self.app.state.keys.list()
        return next((entry.tenant for entry in entries if entry.sha256 == digest), "")

    async def _is_known(self, mark: str) -> bool:
        for kind in (GOLDEN, SAFETY):
            if await self.app.state.observations.find(f"{kind}/{self.app.environment}/{mark}") is not None:
                return True
        return False

    async def _answer(self, case: Case, key: str, mark: str) -> Answered:
        url = require_endpoints(self.app.workspace).gateway.rstrip("/") + _PATH
        headers = (
            _JSON,
            ("authorization", f"Bearer {key}"),
            ("x-shipway-conversation", f"{GOLDEN_CONVERSATION}{mark}"),
        )
        body = orjson.dumps(request_body({"model": self.route}, (), case, 0, stream=False))
        reply: HttpReply = await self.caller.call(HttpCall("POST", url, headers, body, self.goldens.timeout_s))
        output = output_of_reply(url, reply, None, stream=False)
        if reply.headers.get(_CACHE) == _HIT:
            raise wrong_shape(url, "the cache answered, which proves nothing new")
        return Answered(output, reply.headers.get(_RELEASE, ""), reply.headers.get(_REQUEST, ""))

    async def _observed(self, case: Case, answered: Answered, mark: str) -> Observation:
        scoring = self._scoring
        if scoring is None:
            raise wrong_shape(_PATH, "nothing was loaded to score with")
        attempt = Attempt(case.id, 0, answered.output)
        result = score_attempt(attempt, case, scoring.context(None), scoring.metrics)
        if result.errors:
            name, reason = next(iter(result.errors.items()))
            raise wrong_shape(_PATH, f"{name} cannot be computed: {reason}")
        held = [score for score in result.scores.values() if score is not None]
        share = sum(held) / len(held)
        is_safety = SAFETY_TAG in case.tags
        kind = SAFETY if is_safety else GOLDEN
        snapshot = await self._snapshot()
        traffic = snapshot.route(self.route)
        return Observation(
            id=f"{kind}/{self.app.environment}/{mark}",
            at_s=self.app.clock.now_s(),
            kind=kind,
            environment=self.app.environment,
            route=self.route,
            release=answered.release,
            value=float(share >= 1.0) if is_safety else share,
            is_candidate=traffic is not None and traffic.candidate == answered.release,
            candidate_weight=traffic.candidate_weight if traffic is not None else 0.0,
            rollout=snapshot.rollout,
            conversation=f"{GOLDEN_CONVERSATION}{mark}",
            record_id=answered.request_id,
            details={"case": case.id, "checks": len(held)},
        )

    async def _snapshot(self) -> Snapshot:
        return await self.app.state.snapshots.read(self.app.environment)

    async def _failed(self, turn: int, error: ShipwayError) -> None:
        """Count a case that has no score; only the kind of its failure is kept, in one row an hour."""
        hour = int(turn * self.goldens.every_s // _HOUR_S) % _HOURS_KEPT
        name = type(error).__name__
        place = f"{self.app.environment}/golden/{self.route}/{name}/{hour}"
        found = await self.app.state.documents.get(ERROR_KIND, place)
        now_s = self.app.clock.now_s()
        before = found[0]["attempts"] if found is not None and now_s - found[0]["at_s"] < _HOUR_S else 0
        row = {"attempts": before + 1, "at_s": now_s, "error": name, "route": self.route}
        await self.app.state.documents.put(ERROR_KIND, place, row)
