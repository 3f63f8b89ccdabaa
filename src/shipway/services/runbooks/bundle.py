"""What a post-mortem needs, in one folder or zip file: request ids, engine metrics, the change, the audit entries.

No text of users is in it: records have none, and logs of requests are left out.
"""

import csv
import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import anyio.to_thread

from shipway.core.disk import explained
from shipway.core.errors import UsageError
from shipway.services.application import Installation
from shipway.services.runbooks.facts import Facts

Fetch = Callable[[str], Awaitable[str | None]]
"""Returns what stands at an address, None when nobody answers."""

_COLUMNS = (
    "id", "at_s", "route", "release", "is_candidate", "candidate_weight", "rollout", "conversation", "status",
    "latency_ms", "ttft_ms", "tokens_in", "tokens_out", "cost_usd", "error_type", "model", "worker", "snapshot_version",
)  # fmt: skip
_AUDIT_PAGE = 1000
_TAIL_BYTES = 200_000


async def bundle(app: Installation, facts: Facts, runbook: str, fetch: Fetch) -> dict[str, bytes]:
    """Return the files by name."""
    files = {"runbook.md": runbook.encode(), "requests.csv": _requests(facts), "figures.json": _json(_figures(facts))}
    files["state.json"] = _json({"snapshot": _without_keys(facts), "workers": [asdict(item) for item in facts.workers]})
    if facts.rollout is not None:
        files["rollout.json"] = _json(facts.rollout)
    if facts.changes is not None:
        files["change.json"] = _json(
            {"difference": asdict(facts.changes.difference), "texts": [asdict(text) for text in facts.changes.texts]}
        )
    files["audit.jsonl"] = await _audit(app, facts)
    engines = facts.status.endpoints.engines if facts.status.running and facts.status.endpoints else {}
    for alias, url in sorted(engines.items()):
        said = await fetch(f"{url.removesuffix('/v1')}/metrics")
        files[f"metrics/engine-{alias}.txt"] = (said if said is not None else "nobody answered\n").encode()
    files |= await anyio.to_thread.run_sync(_of_disk, app)
    return files


def write_bundle(files: dict[str, bytes], out: Path) -> None:
    """Write the files as a zip file, or as a new folder when `out` does not end with .zip.

    Raises:
        UsageError: there is something at `out` already.
        StoreError: it cannot be written.
    """
    if out.exists():
        raise UsageError(f"--bundle {out} is there already", hint="name another file or folder")
    with explained(out, "cannot be written"):
        if out.suffix == ".zip":
            with zipfile.ZipFile(out, "x", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            return
        for name, data in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _requests(facts: Facts) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*_COLUMNS, "events"])
    for record in facts.records:
        rows.writerow([*(getattr(record, name) for name in _COLUMNS), " ".join(record.events)])
    return text.getvalue().encode()


def _figures(facts: Facts) -> object:
    return {"window_s": facts.window_s, "at_s": facts.at_s, "figures": [asdict(item) for item in facts.figures]}


def _without_keys(facts: Facts) -> dict[str, object]:
    # Hashes of keys are nobody's business in a ticket.
    return {name: value for name, value in facts.snapshot.to_dict().items() if name != "keys"}


async def _audit(app: Installation, facts: Facts) -> bytes:
    """Return the entries of the window, and of the rollout however long ago it began."""
    since_s = facts.at_s - facts.window_s
    if facts.rollout is not None:
        since_s = min(since_s, float(facts.rollout["created_at_s"]))
    lines = []
    after = 0
    while page := await app.state.audit.entries(after=after, limit=_AUDIT_PAGE):
        after = page[-1].seq
        lines += [json.dumps(asdict(entry), default=str) for entry in page if entry.at_s >= since_s]
    return "".join(f"{line}\n" for line in lines).encode()


def _of_disk(app: Installation) -> dict[str, bytes]:
    """Return the gateway's counts as its workers wrote them, and the ends of the logs that hold no request."""
    found: dict[str, bytes] = {}
    for path in sorted((app.workspace.run / "metrics").glob("*.json")):
        found[f"metrics/{path.name}"] = path.read_bytes()
    for path in sorted(app.workspace.logs.glob("*.log")):
        if not path.name.startswith("gateway"):
            found[f"logs/{path.name}"] = path.read_bytes()[-_TAIL_BYTES:]
    return found


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False).encode()
