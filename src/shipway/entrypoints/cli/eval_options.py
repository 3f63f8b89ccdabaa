"""The options of `shipway eval run`, one a line."""

from pathlib import Path
from typing import Annotated

import typer

_TARGET = "Ask this instead: a model, URL#MODEL, python:module:function, log:FILE, route:NAME."

Release = Annotated[str, typer.Argument(help="A release id or the beginning of one.")]
Target = Annotated[str, typer.Option(help=_TARGET)]
Baseline = Annotated[str, typer.Option(help="Compare with this release instead of what is stable now.")]
Dataset = Annotated[str, typer.Option(help="Another dataset than the project's.")]
Repeats = Annotated[int | None, typer.Option(min=1, max=100, help="How often each case is asked.")]
Concurrency = Annotated[int | None, typer.Option(min=1, max=256, help="Cases asked at the same time.")]
Looks = Annotated[int | None, typer.Option(min=1, max=5, help="How often gates may look; each adds repeats.")]
Seed = Annotated[int | None, typer.Option(help="Decides the order of the cases.")]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="Ask the cases with this tag alone; again for one more. With --no-gates."),
]
Share = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="Ask this share of the cases, the same ones each time, such as 0.01. With --no-gates."
    ),
]
FailFast = Annotated[int | None, typer.Option(min=1, help="Stop after so many failed cases.")]
BudgetUsd = Annotated[float | None, typer.Option(min=1e-9, help="US dollars that it may cost.")]
BudgetTokens = Annotated[int | None, typer.Option(min=1, help="Tokens that it may take, in and out.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="Write a report for a pull request.")]
Html = Annotated[Path | None, typer.Option(help="Write a report for a browser, answers side by side.")]
Junit = Annotated[Path | None, typer.Option(help="Write a report for the test view of a CI.")]
Sarif = Annotated[Path | None, typer.Option(help="Write a report for code scanning.")]
JsonFile = Annotated[Path | None, typer.Option(help="Write a report with every answer, for programs.")]
Out = Annotated[Path | None, typer.Option(help="Keep the run in this folder instead of below .shipway/runs.")]
ShardOption = Annotated[str, typer.Option(help="Ask one of several parts, such as 2/8; `eval merge` judges them.")]
Cases = Annotated[int, typer.Option(min=0, help="Show so many cases that got worse or failed.")]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="Say what it takes, and ask nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Begin although the estimate is over the budget.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that was interrupted.")]
Gates = Annotated[bool, typer.Option("--gates/--no-gates", help="Judge, or collect answers alone.")]
