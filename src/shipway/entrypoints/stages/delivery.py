"""The built-in stages from the corpus to the deployed release."""

from shipway.pipeline.builtins import Builtin
from shipway.pipeline.compile.plan import RESULTS

EVIDENCE = f"{RESULTS}/{{stage}}.evidence.jsonl"
"""Where a stage leaves its evaluation for those whose store does not have it, relative to the project."""
_WORK = "shipway.entrypoints.stages.work.delivery"

STAGES = (
    # Kept only with inputs: the documents and the files of the release. `release` makes again what is missing here.
    Builtin(
        "rag-build",
        f"{_WORK}:rag_build",
        "Build the corpus; prints what was embedded and reused.",
        cacheable=True,
        asks="always",
    ),
    Builtin(
        "release",
        f"{_WORK}:release",
        "Create the release; gives its id to later stages.",
        cacheable=True,
        asks="always",
    ),
    # Kept only with inputs: the cases. What is stable may be another by then, so a stage `gate` judges it anew.
    Builtin(
        "evaluate",
        f"{_WORK}:evaluate_release",
        "Evaluate the release of this run; gives the gate's verdict.",
        cacheable=True,
        leaves=(EVIDENCE,),
        asks="always",
    ),
    Builtin("deploy", f"{_WORK}:deploy", "Deploy the release of this run and wait for its rollout.", asks="always"),
)
