"""Commands run one after another on a project that runs; `ok` runs one and returns its document."""

from pathlib import Path
from typing import Any

FLAG = '{"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"}'


def operate_traffic(ok: Any) -> None:
    """Run the commands that act on a running gateway."""
    assert len(ok("reload")["workers"]) == 1
    assert ok("restart")["replaced"] == ["gateway"]
    ok("switch set", "max-new", "*", "50", "--for", "5m")
    ok("switch list")
    ok("switch clear", "all")
    ok("flag set", "tone", FLAG)
    ok("flag show", "tone")
    ok("flag list")
    ok("flag delete", "tone")
    ok("feedback list")
    ok("quality status")
    ok("cache show", code=2)  # nothing is calibrated


def operate_datasets(ok: Any, folder: Path) -> None:
    """Run the commands of datasets."""
    assert ok("dataset check")["dataset"] == "cases"
    assert ok("dataset stats")
    assert ok("dataset register")
    assert ok("dataset list")
    assert ok("dataset diff", "cases@1", "cases@1")
    assert ok("dataset split", "evals/cases.jsonl", "--out", str(folder / "split.jsonl"))


def operate_production(ok: Any, release: str, folder: Path) -> None:
    """Run the commands that live on what production kept, of which there is nothing here."""
    assert ok("dataset proposals list")["proposals"] == []
    ok("dataset proposals show", "prop_0", code=2)
    ok("dataset proposals accept", "prop_0", "--unanswerable", code=2)
    ok("dataset proposals reject", "prop_0", code=2)
    assert ok("dataset proposals export", "--out", str(folder / "proposed.jsonl"))["cases"] == 0
    ok("replay", release, code=2)
    assert ok("runbook", "rollback")["markdown"]
    assert ok("readiness")["level"] >= 0
    assert ok("pipeline queue") == {"receiver": False, "runs": []}


def operate_gates(ok: Any, release: str) -> None:
    """Run the commands that look at gates and at what they found."""
    assert ok("gate check")["refused"] == 0
    assert ok("gate simulate", "--decisions", "20")["rows"]
    assert ok("gate run", release)["verdict"] == "PASS"
    assert ok("gate explain", release)["gates"]


def operate_rollouts(ok: Any, first: str, second: str, plan: str) -> None:
    """Roll a release out, back, and half-way."""
    started = ok("deploy", second)["rollout"]
    ok("rollout pause", started)
    assert ok("rollout watch", started, code=4)["state"] == "paused"
    ok("rollout resume", started)
    assert ok("rollout status")["rollout"] == started
    assert ok("rollout explain")["rollout"] == started
    assert ok("rollout history")["history"][0]["action"] == "rollout.started"
    ok("rollout promote", started)
    assert ok("rollout watch", started)["state"] == "completed"
    assert [item["rollout"] for item in ok("rollout list")] == [started]
    assert ok("rollback")["release"] == first
    ok("eval run", second)
    again = ok("deploy", second)["rollout"]
    ok("rollout abort", again)
    assert ok("rollout watch", again, code=1)["state"] == "rolled_back"
    asked = ok("deploy", second, "--plan", plan)["rollout"]
    assert ok("rollout watch", asked, code=4)["code"] == "approval"
    assert ok("rollout approve", asked)["rollout"] == asked
    assert ok("rollout watch", asked)["state"] == "completed"
    assert ok("rollback")["release"] == first


def operate_evaluations(ok: Any, release: str, folder: Path) -> None:
    """Run the commands of runs on disk."""
    collected = ok("eval run", release, "--no-gates")
    assert collected["evaluation"] is None
    assert ok("eval rescore", collected["run"], "--no-gates")["run"] == collected["run"]
    parts = [str(folder / f"part{number}") for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        ok("eval run", release, "--shard", f"{number}/2", "--out", part)
    assert ok("eval merge", *parts)["verdict"] == "PASS"
    assert ok("eval report", release)["verdict"] == "PASS"
    kept = ok("eval cache stats")["answers"]
    assert ok("eval cache clear")["answers"] == kept == 5


def operate_pipeline(ok: Any) -> None:
    """Run the commands of the pipeline."""
    assert ok("pipeline graph")["stages"]
    ok("pipeline init", "--write", code=2)  # it has one
    assert ok("pipeline run")["verdict"] == "PASS"
    assert len(ok("pipeline runs")) == 1
    stage = ok("pipeline list")[0]["stage"]
    assert ok("pipeline explain", stage)["stage"] == stage
    assert ok("pipeline logs", stage)["stage"] == stage
    ok("pipeline run-stage", stage, "--plan-digest", "sha256:0", code=2)
    assert ok("pipeline clean")["runs"] == 0
    assert ok("pipeline report")["verdict"] == "PASS"
    ok("pipeline fix", code=2)  # no stage that can mend
    assert ok("pipeline compile", "github")["written"] is True
    assert ok("pipeline changed", "--since", "HEAD")["parts"]
