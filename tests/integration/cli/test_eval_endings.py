"""How `shipway eval run` ends when somebody ends it, closes its output, or nothing is there to ask."""

import itertools
import json
import os
import signal
import subprocess

import pytest
from tests.program import PROGRAM, environment

PROJECT = """app: small
models: { echo: { engine: echo, model: echo, max_out: 64 } }
routes: { chat: { kind: chat, model: echo } }
evals: { dataset: evals/cases.jsonl, split: all, concurrency: 1, keep_runs: 1, target: { python: "BOT:answer" } }
gates: [{ metric: correct, min: 0.2 }]
"""
SERVICE = """app: small
code: { paths: [app.py] }
routes: { ask: { kind: http, command: [python, app.py] } }
evals: { dataset: evals/cases.jsonl, split: all, http: { path: /, body: { q: "{question}" }, answer: a } }
gates: [{ metric: correct, min: 0.2 }]
"""
BOT = """import pathlib, time
def answer(case):
    if pathlib.Path(__file__).with_name("wait").exists() and case.id != "0":
        time.sleep(60)
    return case.question
"""

_MODULES = itertools.count()

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def bot(make_app):
    """A project whose target is a function, in a module that no other test of this process has imported."""
    app = make_app()
    module = f"bot_{next(_MODULES)}"
    app.write("shipway.yaml", PROJECT.replace("BOT", module))
    app.write(f"{module}.py", BOT)
    return app


def attempts(app):
    return [
        line
        for file in (app.root / ".shipway" / "runs").glob("run_*/attempts-*.jsonl")
        for line in file.read_text().splitlines()
    ]


def terminated_once_asked(app, command):
    """Start a command of a script, end it by SIGTERM once an answer is kept, and return its exit code."""
    app.write("wait", "")
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(), cwd=app.root, text=True
    )
    try:
        pid = int(started.stdout.readline())
        while not attempts(app):
            assert started.poll() is None
        os.kill(pid, signal.SIGTERM)
        said = started.stdout.read()
        return started.wait(60), said
    finally:
        started.kill()
        started.stdout.close()
        (app.root / "wait").unlink()


def test_a_job_in_the_background_of_a_script_ends_at_once_when_it_is_terminated(bot):
    # Such a job ignores Ctrl-C: its shell has told it to.
    script = f"{' '.join(PROGRAM)} eval run & echo $!; wait $!"

    code, said = terminated_once_asked(bot, ["sh", "-c", script])

    assert code == 143
    assert "verdict" not in said.replace("no verdict was stored", "")
    assert len(attempts(bot)) == 1


def test_a_run_that_waits_for_resume_is_neither_counted_nor_removed(bot):
    terminated_once_asked(bot, ["sh", "-c", f"{' '.join(PROGRAM)} eval run & echo $!; wait $!"])
    (begun,) = (bot.root / ".shipway" / "runs").iterdir()
    done = [bot.run("eval", "run", "--seed", str(seed), "--json").json["run"] for seed in (1, 2, 3)]

    kept = sorted(path.name for path in (bot.root / ".shipway" / "runs").iterdir())
    resumed = bot.run("eval", "run", "--resume", "--json")

    # The newest is begun before the oldest is let go of.
    assert kept == [begun.name, *done[-2:]]
    assert (resumed.code, resumed.json["run"]) == (0, begun.name)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_stops_reading_leaves_the_verdict_its_exit_code(bot, form):
    read, write = os.pipe()
    os.close(read)
    command = [*PROGRAM, "eval", "run", *form, "--project", str(bot.root)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=environment(), check=False, timeout=90)
    os.close(write)

    assert (done.returncode, done.stderr) == (0, b"")


def test_other_output_that_nobody_reads_ends_a_command_as_a_closed_pipe_does():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*PROGRAM, "--help"], stdout=write, stderr=subprocess.PIPE, check=False, timeout=90)
    os.close(write)

    assert done.returncode == 128 + signal.SIGPIPE


def test_a_service_that_nothing_would_start_is_refused_at_once(make_app):
    app = make_app()
    app.write("shipway.yaml", SERVICE)
    app.write("app.py", "")
    release = app.run("release", "create", "--json").json["release"]

    done = app.run("eval", "run", release)
    told = app.run("eval", "run", release, "--json").json

    assert done.code == 3
    assert f"nothing runs the process of {release}: `shipway up` does, and it is not running here" in done.err
    assert told["verdict"] == "ERROR"


def test_a_run_that_was_begun_for_other_cases_is_not_gone_on_with(bot, tmp_path):
    out = str(tmp_path / "run")
    bot.run("eval", "run", "--out", out)
    cases = [{"id": str(number), "question": f"Z{number}?", "must_contain": ["Z"]} for number in range(10)]
    bot.write("evals/cases.jsonl", "\n".join(map(json.dumps, cases)))

    done = bot.run("eval", "run", "--resume", "--out", out)

    assert "dataset.digest" in done.err
    assert "restore the cases of that run, or begin anew without --resume" in done.err
    assert "rescore" not in done.err


def test_what_is_not_there_to_resume_is_compared_with_the_run_that_is_nearest(bot):
    terminated_once_asked(bot, ["sh", "-c", f"{' '.join(PROGRAM)} eval run & echo $!; wait $!"])

    nearest = bot.run("eval", "run", "--resume", "--no-gates").err
    (module,) = bot.root.glob("bot_*.py")
    bot.write(f"another_{module.name}", BOT)
    bot.edit("shipway.yaml", module.stem, f"another_{module.stem}")
    unrelated = bot.run("eval", "run", "--resume").err

    assert "settings.gates: yes against no" in nearest
    assert "there is no unfinished run of this plan\n" in unrelated
    assert "differs" not in unrelated


def test_a_report_and_a_folder_are_no_stored_runs_and_the_way_is_told(bot, tmp_path):
    report = tmp_path / "report.json"
    run = bot.run("eval", "run", "--json-file", str(report), "--json").json

    of_report, of_folder = bot.run("gate", "run", str(report)), bot.run("gate", "run", run["directory"])

    assert "is a report, which has no answers to judge again" in of_report.err
    assert "`shipway eval rescore RUN`" in of_report.err
    assert f"`shipway eval rescore {run['directory']}`" in of_folder.err
    assert (of_report.code, of_folder.code) == (2, 2)


def test_a_mistake_of_a_gate_is_told_with_its_place_once(bot):
    bot.edit("shipway.yaml", "min: 0.2 }", "min: 0.2 }, { metric: correct, non_regression: -1 }")

    done = bot.run("config", "check")

    assert "shipway.yaml:5: gates[1]: non_regression: expected 'auto' or a drop above 0" in done.err
    assert "gates[0]" not in done.err
