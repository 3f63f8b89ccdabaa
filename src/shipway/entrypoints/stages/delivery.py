"""The built-in stages from the corpus to the deployed release."""

from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.delivery"

STAGES = (
    # Kept only with inputs: the documents and the files of the release. `release` makes again what is missing here.
    Builtin(
        "rag-build", f"{_WORK}:rag_build", "Build the corpus; prints what was embedded and reused.", cacheable=True
    ),
    Builtin("release", f"{_WORK}:release", "Create the release; gives its id to later stages.", cacheable=True),
    # Kept only with inputs: the cases. What is stable may be another by then, so a stage `gate` judges it anew.
    Builtin(
        "evaluate",
        f"{_WORK}:evaluate_release",
        "Evaluate the release of this run; gives the gate's verdict.",
        cacheable=True,
    ),
    Builtin("deploy", f"{_WORK}:deploy", "Deploy the release of this run and wait for its rollout."),
)
