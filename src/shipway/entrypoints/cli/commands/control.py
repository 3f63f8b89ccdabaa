"""`shipway control`: the control plane in the foreground."""

import anyio

from shipway.entrypoints.cli.foreground import until_signalled
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.control_process import run_control


def control(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Run the control plane: its API and the rollout controller. Of several, one leads and the others wait."""
    del debug
    anyio.run(until_signalled, run_control, project)
    emit({"ended": "control"}, ["control ended"], as_json=as_json)
