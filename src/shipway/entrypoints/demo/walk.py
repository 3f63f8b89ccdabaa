"""The walk: eight steps, each made of commands a user would type; it fails as soon as one does not keep its promise."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer
from openai import OpenAI

from shipway.entrypoints.cli.output import table
from shipway.entrypoints.demo.client import ask, ask_streamed
from shipway.entrypoints.demo.shell import Shell

_PROMPT = "prompts/answer.yaml"
_TENANT = "tidewell"
_NORMAL = "How many days do I have to return an unused Tidewell kettle?"
_UNANSWERABLE = "Does Tidewell sell a machine that roasts green coffee beans?"
_OTHER_TENANT = "How long does a Harborline lantern burn on one filling?"
_ONE_SECOND = 1.0


@dataclass(slots=True)
class Walk:
    """The demo under way."""

    shell: Shell
    facts: list[tuple[str, str]] = field(default_factory=list)
    endpoints: dict[str, Any] = field(default_factory=dict)
    operator_key: str = ""
    user_key: str = ""
    releases: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Walk all steps and print the closing table.

        Raises:
            BrokenPromiseError: a step came out differently.
        """
        self.start()
        self.build()
        self.first_release()
        self.questions()
        self.better_prompt()
        self.worse_prompt()
        self.forced_release()
        self.one_story()
        self.shell.end_step()
        rows = [(step.title, f"{step.seconds:.1f} s", step.outcome) for step in self.shell.times]
        total = sum(step.seconds for step in self.shell.times)
        typer.echo("")
        for line in [
            *table(("step", "time", "outcome"), [*rows, ("total", f"{total:.1f} s", "")]),
            "",
            *_fact_lines(self.facts),
        ]:
            typer.echo(line)

    def start(self) -> None:
        """Start engine, gateway and control."""
        shell = self.shell
        shell.step("1. Start: a model server, a gateway and the control plane on free loopback ports")
        self.endpoints = shell.ask("up", quiet=False)
        self.operator_key = self.endpoints["key"]["secret"]
        self.user_key = shell.ask("key", "create", "--tenant", _TENANT, quiet=False)["secret"]
        shell.outcome(f"gateway {self.endpoints['gateway']}/v1, control {self.endpoints['control']}")

    def build(self) -> None:
        """Build the corpus, twice."""
        shell = self.shell
        shell.step("2. Corpus: parse, chunk, embed, index; a second build embeds nothing")
        shell.run("rag", "build")
        again = shell.ask("rag", "build", quiet=False)
        shell.require(again["embedded"] == 0 and again["reused"] > 0, "a second build embeds nothing")
        shell.outcome(f"{again['documents']} documents, {again['chunks']} chunks; second build: 0 embedded")

    def first_release(self) -> None:
        """Release, evaluate, gate and deploy version 1."""
        shell = self.shell
        shell.step("3. First release: evaluated, gated with error bars, deployed")
        shell.copy("prompts/answer.v1.yaml", _PROMPT)
        self.releases["v1"] = self._create("answer prompt v1")
        shell.run("eval", "run", self.releases["v1"])
        shell.run("deploy", self.releases["v1"])
        shell.outcome("gate PASS; all traffic is on it")

    def questions(self) -> None:
        """Ask as a client of one tenant."""
        shell = self.shell
        shell.step("4. A client asks, with the official openai package")
        client = self._client()
        normal = ask(client, _NORMAL)
        shell.require(bool(normal.citations) and not normal.refused, "a normal question gets a cited answer")
        streamed, pieces = ask_streamed(client, _NORMAL)
        shell.require(streamed.text == normal.text and pieces > 1, "the streamed answer is the same answer, in pieces")
        unknown = ask(client, _UNANSWERABLE)
        shell.require(unknown.refused and not unknown.citations, "a question without an answer is refused")
        foreign = ask(client, _OTHER_TENANT)
        shell.require(foreign.refused and not foreign.citations, "another tenant's document is never used")
        shell.outcome("cited, streamed, refused where it must")

    def better_prompt(self) -> None:
        """Roll out version 2 under live load."""
        shell = self.shell
        shell.step("5. Prompt v2: paired evaluation, canary under live load, promoted")
        shell.copy("prompts/answer.v2.yaml", _PROMPT)
        v2 = self.releases["v2"] = self._create("answer prompt v2")
        shell.run("release", "diff", self.releases["v1"], v2)
        changed = shell.ask("release", "diff", self.releases["v1"], v2)["parts"]
        shell.require(changed == ["prompt"], "the difference is the prompt alone")
        shell.run("eval", "run", v2)
        with self._load("v2") as report:
            shell.run("deploy", v2)
            shell.run("rollout", "watch")
        found = shell.ask("rollout", "status")
        shell.require(found["state"] == "completed", "v2 is promoted")
        self._require_unharmed(report)
        served = found["conversations"]
        shell.outcome(f"promoted after {served['candidate']} conversations; {report['requests']} requests, 0 failed")
        self.facts.append(
            ("v2 promoted after (conversations candidate / stable)", f"{served['candidate']} / {served['stable']}")
        )
        self.facts.append(("requests failed during the rollout of v2", f"{report['failed']} of {report['requests']}"))
        self.facts.append(("streams in flight broken", f"{report['broken_streams']} of {report['streams']}"))

    def worse_prompt(self) -> None:
        """See version 3 fail the gate."""
        shell = self.shell
        shell.step("6. Prompt v3 (drops numbers and conditions): the gate says FAIL")
        shell.copy("prompts/answer.v3.yaml", _PROMPT)
        self.releases["v3"] = self._create("answer prompt v3")
        shell.run("eval", "run", self.releases["v3"], "--cases", "3", expect=1)
        shell.outcome("exit code 1")

    def forced_release(self) -> None:
        """Force version 3 and see live evidence take it back."""
        shell = self.shell
        v3 = self.releases["v3"]
        shell.step("7. v3 forced past the gate: live evidence rolls it back")
        with self._load("v3") as report:
            shell.run("deploy", v3, "--override-gate", "demo: what if the gate is ignored?")
            shell.run("rollout", "watch", expect=1)
        # Asked after the load has ended, so that an assignment that came late would show.
        found = shell.ask("rollout", "status")
        shell.require(found["state"] == "rolled_back", "v3 is rolled back by itself")
        last = found["decision_to_last_assignment_s"]
        shell.require(last is not None and last < _ONE_SECOND, "nobody is assigned to v3 a second after the decision")
        self._require_unharmed(report)
        served = found["conversations"]["candidate"]
        shell.outcome(f"rolled back after {served} conversations")
        drained = (found["confirmed_at_s"] or 0) - (found["decided_at_s"] or 0)
        self.facts += [
            ("conversations served by v3", str(served)),
            ("first bad event -> decision", f"{found['first_bad_event_to_decision_s']:.1f} s"),
            ("decision -> last request assigned to v3 (negative: before it)", f"{last:+.3f} s"),
            ("decision -> every worker confirmed", f"{drained:.3f} s"),
            (
                "answers of v3 still under way then took",
                f"{max(0.0, found['last_candidate_answer_at_s'] - found['confirmed_at_s']):.3f} s",
            ),
        ]

    def one_story(self) -> None:
        """See that gateway, metrics, audit log and rollout agree."""
        shell = self.shell
        shell.step("8. Gateway, metrics, audit log and rollout tell the same story")
        v2, v3 = self.releases["v2"], self.releases["v3"]
        version = json.loads(self._get("/version"))
        stable = {route: entry["stable"]["release"] for route, entry in version["routes"].items()}
        shell.require(set(stable.values()) == {v2}, f"/version shows {v2} as stable on every route")
        metrics = self._get("/metrics")
        counted = sum(
            float(n) for n in re.findall(rf'shipway_requests_total{{[^}}]*release="{v3}"[^}}]*}} ([0-9.e+]+)', metrics)
        )
        found = shell.ask("rollout", "status")
        shell.require(counted >= found["conversations"]["candidate"] > 0, "/metrics counts v3's requests")
        shell.run("audit", "verify")
        actions = [
            event["action"] for event in shell.ask("audit", "list") if event["subject"] in (v3, found["rollout"])
        ]
        shell.require("gate.overridden" in actions, "the override is in the audit log")
        shell.run("rollout", "status")
        shell.outcome(f"stable is v2 everywhere; {counted:.0f} requests of v3 counted; the audit chain holds")

    def _create(self, message: str) -> str:
        made = self.shell.ask("release", "create", "-m", message, quiet=False)
        typer.echo(f"   {made['release']}")
        return str(made["release"])

    def _client(self) -> OpenAI:
        return OpenAI(base_url=self.endpoints["gateway"] + "/v1", api_key=self.user_key, max_retries=0, timeout=60.0)

    def _get(self, path: str) -> str:
        client = OpenAI(base_url=self.endpoints["gateway"], api_key=self.operator_key, max_retries=0)
        typer.echo(f"$ curl {self.endpoints['gateway']}{path}")
        return str(client.get(path, cast_to=str))

    def _require_unharmed(self, report: dict[str, Any]) -> None:
        self.shell.require(report["failed"] == 0, f"no request failed ({report['problems']})")
        self.shell.require(report["broken_streams"] == 0, "every stream in flight came to its end")

    @contextmanager
    def _load(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Run live load beside; its report is there when the block has ended."""
        arguments = ["--base-url", self.endpoints["gateway"] + "/v1", "--cases", "evals/cases.jsonl"]
        typer.echo("   (live load: a second process, 2 clients)")
        os.environ["SHIPWAY_DEMO_KEY"] = self.user_key
        process = self.shell.start("shipway.entrypoints.demo.load", *arguments, "--tenant", _TENANT, "--prefix", prefix)
        report: dict[str, Any] = {}
        try:
            yield report
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                output, _ = process.communicate(timeout=90)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        report.update(json.loads(output))


def _fact_lines(facts: list[tuple[str, str]]) -> list[str]:
    return table(("measured", "value"), facts)
