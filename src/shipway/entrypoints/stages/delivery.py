"""The built-in stages from the corpus to the deployed release."""

from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.delivery"

STAGES = (
    Builtin("rag-build", f"{_WORK}:rag_build", "Build the corpus; gives what was embedded and reused."),
    Builtin("release", f"{_WORK}:release", "Create the release; gives its id to later stages."),
    Builtin("evaluate", f"{_WORK}:evaluate_release", "Evaluate the release of this run; gives the gate's verdict."),
    Builtin("deploy", f"{_WORK}:deploy", "Deploy the release of this run and wait for its rollout."),
)
