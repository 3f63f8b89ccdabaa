import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

import shipway
from shipway.core.errors import UsageError
from shipway.evals.model import Case, Output, ToolCall
from shipway.services.targets.answers import LIMIT_BYTES
from shipway.services.targets.python_function import PythonFunction, opened_function

CASE = Case(id="c1", question="Why?")
MODULE = """
import asyncio, sys, threading
from shipway.evals.model import Output, ToolCall

VALUE = 3

def text(case): return case.question.upper()
async def later(case):
    await asyncio.sleep(0)
    return {"answer": "later", "citations": ["a"], "tool_calls": [{"name": "f", "arguments": {}}]}
def output(case): return Output(answer="whole", cost_usd=0.5)
def promised(case): return later(case)
def raises(case): raise KeyError("price")
async def raises_later(case): raise ValueError("no such product")
def silent(case): raise RuntimeError
def ends(case): sys.exit(3)
def stops(case): raise StopIteration
def number(case): return 42
def nothing(case): return None
def half(case): return {"text": "x"}
def no_text(case): return Output(answer=None)
def large(case): return "x" * 10_000_001
def thread(case): return threading.current_thread().name
def two(case, other): return ""
def interrupts(case): raise KeyboardInterrupt
async def interrupts_later(case): raise KeyboardInterrupt("later")
def dear(case): return Output(answer="a", cost_usd=float("inf"))
def leaks(case): raise ValueError("secret sk-abcdefghijklmnop1234")
def cancels(case): raise asyncio.CancelledError
def prints(case): print("debugging"); return "a"
class Bot:
    @staticmethod
    def answer(case): return "bot"
class Called:
    async def __call__(self, case): return "called"
called = Called()
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "targets_bot.py").write_text(MODULE)
    (tmp_path / "targets_broken.py").write_text("import nonexistent_library\n")
    (tmp_path / "targets_loud.py").write_text("def f(case):\n    pass\nraise OSError('no disk')\n")
    (tmp_path / "targets_syntax.py").write_text("def f(case)\n    pass\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("targets_")]:
        del sys.modules[name]


async def asked(root, name):
    async with opened_function(f"targets_bot:{name}", root) as target:
        return await target.ask(CASE, repeat=0)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("text", Output(answer="WHY?")),
        ("later", Output(answer="later", citations=("a",), tool_calls=(ToolCall("f", {}),))),
        ("output", Output(answer="whole", cost_usd=0.5)),
        ("promised", Output(answer="later", citations=("a",), tool_calls=(ToolCall("f", {}),))),
        ("Bot.answer", Output(answer="bot")),
        ("called", Output(answer="called")),
    ],
)
async def test_a_function_of_any_kind_answers(root, name, output):
    assert await asked(root, name) == output


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raises", "targets_bot:raises raised KeyError: 'price' (targets_bot.py:13 in raises)"),
        ("raises_later", "raised ValueError: no such product (targets_bot.py:14 in raises_later)"),
        ("silent", "raised RuntimeError (targets_bot.py:15 in silent)"),
        ("ends", "raised SystemExit: 3 (targets_bot.py:16 in ends)"),
        ("stops", "raised StopIteration (targets_bot.py:17 in stops)"),
        ("number", "targets_bot:number: it returned int (42); return text, a dict with answer, or an Output"),
        ("nothing", "it returned NoneType (None); return text, a dict with answer, or an Output"),
        ("half", "targets_bot:half: unknown field 'text'; "),
        ("no_text", "it returned an Output whose answer is None, not text"),
        ("interrupts", "targets_bot:interrupts raised KeyboardInterrupt (targets_bot.py:25 in interrupts)"),
        ("interrupts_later", "raised KeyboardInterrupt: later (targets_bot.py:26 in interrupts_later)"),
        ("cancels", "raised CancelledError"),
        ("leaks", "raised ValueError: (what it says holds a credential and is not repeated) (targets_bot.py:28 in"),
        ("dear", "cost_usd must be a number from 0 on, not inf"),
        ("large", f"answer larger than {LIMIT_BYTES:,} bytes"),
    ],
)
async def test_what_goes_wrong_in_a_function_is_the_error_of_that_attempt(root, name, error):
    output = await asked(root, name)

    assert output.answer == ""
    assert error in output.error


async def test_what_a_function_prints_goes_to_the_error_stream(root, capsys):
    (root / "targets_bot.py").write_text("print('importing')\n" + MODULE)

    assert (await asked(root, "prints")).answer == "a"

    sys.stdout.write("a result\n")
    assert capsys.readouterr() == ("a result\n", "importing\ndebugging\n")


async def test_a_plain_function_does_not_run_in_the_thread_of_the_loop(root):
    assert (await asked(root, "thread")).answer != threading.current_thread().name


async def test_a_function_that_blocks_can_be_given_up_on():
    entered, release, left = threading.Event(), threading.Event(), threading.Event()

    def blocks(_case):
        entered.set()
        release.wait()
        left.set()
        return "too late"

    target = PythonFunction("m:f", blocks, Path(), "")
    answers = []

    async def ask():
        answers.append(await target.ask(CASE, repeat=0))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.to_thread.run_sync(entered.wait)
        group.cancel_scope.cancel()
    release.set()
    await anyio.to_thread.run_sync(left.wait)

    assert answers == []


def test_a_function_that_never_returns_does_not_keep_the_program():
    script = """
import threading
from pathlib import Path
import anyio
from shipway.evals.model import Case
from shipway.services.targets.python_function import PythonFunction

async def main():
    with anyio.move_on_after(0.05):
        await PythonFunction("m:f", lambda case: threading.Event().wait(), Path(), "").ask(Case("a", "b"), repeat=0)

anyio.run(main)
print("ended")
"""
    found = {"PYTHONPATH": str(Path(shipway.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, env=found, capture_output=True, text=True, timeout=50
    )

    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("targets_gone:f", "cannot be imported: No module named 'targets_gone'", "modules are looked for in"),
        ("targets_bot:txet", "function 'targets_bot:txet' is not there", "did you mean 'text'?"),
        ("targets_bot:VALUE", "'targets_bot:VALUE' is int, not a function", ""),
        ("targets_bot:Bot", "'targets_bot:Bot' is the class Bot, not a function", ""),
        ("targets_bot:two", "cannot be called with a case alone: missing a required argument: 'other'", "def answer"),
        ("targets_broken:f", "No module named 'nonexistent_library'", "install nonexistent_library"),
        ("targets_loud:f", "cannot be imported: OSError: no disk (targets_loud.py:3 in <module>)", "correct"),
        ("targets_syntax:f", "cannot be imported: SyntaxError: expected ':' (targets_syntax.py", "correct"),
    ],
)
async def test_what_cannot_be_called_is_refused_before_anything_is_asked(root, path, message, hint):
    with pytest.raises(UsageError) as caught:
        async with opened_function(path, root):
            pass

    assert message in caught.value.message
    assert hint in caught.value.hint
    assert str(root) not in sys.path


async def test_the_digest_changes_with_the_file_of_the_function(root):
    digests = []
    for text in (MODULE, MODULE + "\n# changed\n"):
        (root / "targets_bot.py").write_text(text)
        async with opened_function("targets_bot:text", root) as target:
            digests.append(target.digest)
    async with opened_function("targets_bot:later", root) as other:
        digests.append(other.digest)

    assert len(set(digests)) == 3


async def test_a_function_may_import_from_the_project_while_it_is_asked(root):
    (root / "targets_late.py").write_text("ANSWER = 'from beside'\n")
    (root / "targets_main.py").write_text("def f(case):\n    import targets_late\n    return targets_late.ANSWER\n")

    async with opened_function("targets_main:f", root) as target:
        assert (await target.ask(CASE, repeat=0)).answer == "from beside"
    assert str(root) not in sys.path
