"""Which parser reads which tool's files; services and adapters ask here."""

from collections.abc import Mapping

from shipway.core.findings import FindingReport
from shipway.evals.tools import deepeval_results, inspect_results, lm_eval_results, promptfoo_results, ragas_results
from shipway.evals.tools.ports import ToolName
from shipway.evals.tools.scored import THRESHOLD

SUITES: Mapping[ToolName, str] = {
    "promptfoo": promptfoo_results.TOOL,
    "lm-eval": lm_eval_results.TOOL,
    "deepeval": deepeval_results.TOOL,
    "ragas": ragas_results.TOOL,
    "inspect": inspect_results.TOOL,
}
"""What a tool's metrics begin with, such as `lm_eval.exact_match`."""


def read_results(
    name: ToolName, data: bytes, file: str, beside: Mapping[str, bytes] | None = None, *, threshold: float = THRESHOLD
) -> FindingReport:
    """Return what a result file says; `beside` are the files of samples that lm-eval writes beside its results.

    Raises:
        DocumentError: it is no result of the tool, is cut off, or of another version.
    """
    match name:
        case "promptfoo":
            return promptfoo_results.parse(data, file)
        case "deepeval":
            return deepeval_results.parse(data, file)
        case "ragas":
            return ragas_results.parse(data, file, threshold=threshold)
        case "inspect":
            return inspect_results.parse(data, file, threshold=threshold)
        case "lm-eval":
            return lm_eval_results.parse(data, file, beside, threshold=threshold)
