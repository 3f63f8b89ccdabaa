"""The stage that tells what the run has come to so far, over the services behind `pipeline report`."""

from collections.abc import Mapping
from pathlib import Path

import anyio

from shipway.adapters.smtp.sender import MailServer
from shipway.config.environment import process_environment
from shipway.core.errors import UnavailableError, UsageError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.entrypoints.stages.notify import Notify
from shipway.entrypoints.stages.work.references import is_reference, resolved
from shipway.entrypoints.wiring import load
from shipway.pipeline.findings import folded
from shipway.pipeline.model import RunReport, StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.services.api_contracts import base_url
from shipway.services.pipeline_reports.notices import (
    Comment,
    Delivery,
    Notice,
    ci_place,
    comment_github,
    comment_gitlab,
    send_slack,
    send_webhook,
)


def notify(project: Path | None) -> BuiltinStage:
    """Return the stage that tells others."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = Notify.model_validate(dict(stage.with_))
        done = RunReport(context.run_id, 0.0, 0.0, tuple(context.results.values()))
        notice = Notice(folded(done), wanted.title or load(root).project.app, wanted.link)
        told = await tell(root, wanted, notice, process_environment())
        context.output.feed(f"{wanted.to}: {told}\n".encode())
        return StageOutcome(Verdict.PASS, outputs={"told": wanted.to})

    return run


async def tell(root: Path, wanted: Notify, notice: Notice, environ: Mapping[str, str]) -> str:
    """Send a notice and return in one word what came of it.

    Raises:
        UsageError: a secret or a place is not there.
        UnavailableError: it was not taken.
    """
    if wanted.to == "email":
        return await _mail(root, wanted, notice, environ)
    named = {name: getattr(wanted, name) for name in ("url", "token", "secret")}
    given = {name: resolved(text, root, environ, name) if is_reference(text) else text for name, text in named.items()}
    secrets = [text for name, text in given.items() if is_reference(named[name])]
    async with endpoint_caller() as caller:
        delivery = Delivery(caller, anyio.sleep, wanted.attempts, wanted.timeout_s, secrets)
        match wanted.to:
            case "slack":
                await send_slack(delivery, _address(given["url"]), notice)
            case "webhook":
                address = _address(given["url"])
                await send_webhook(delivery, address, notice, token=given["token"], secret=given["secret"])
            case "github":
                return await comment_github(delivery, _comment(wanted, given, environ), notice)
            case _:
                return await comment_gitlab(delivery, _comment(wanted, given, environ), notice)
    return "sent"


async def _mail(root: Path, wanted: Notify, notice: Notice, environ: Mapping[str, str]) -> str:
    user = resolved(wanted.user, root, environ, "user") if is_reference(wanted.user) else wanted.user
    password = resolved(wanted.password, root, environ, "password") if wanted.password else ""
    server = MailServer(wanted.server, wanted.encryption, user, password, wanted.timeout_s)
    text = "\n".join([notice.headline, "", *notice.lines])
    for attempt in range(1, wanted.attempts + 1):
        try:
            await server.send(wanted.sender, wanted.recipients, notice.headline, text)
        except UnavailableError:
            if attempt == wanted.attempts:
                raise
            await anyio.sleep(2.0 ** (attempt - 1))
        else:
            break
    return "sent"


def _comment(wanted: Notify, given: Mapping[str, str], environ: Mapping[str, str]) -> Comment:
    repository, number = ci_place(wanted.to, environ)
    repository, number = wanted.repository or repository, wanted.number or number
    if not repository or not number:
        missing = "repository" if not repository else "number"
        raise UsageError(
            f"notify: nothing says the {missing} of the pull request",
            hint="give the option, or run it in the CI job of one",
        )
    if wanted.to == "github" and repository.count("/") != 1:
        raise UsageError(f"notify: repository {repository!r} is not owner/name")
    return Comment(repository, number, given["token"], base_url(given["url"]) if given["url"] else "")


def _address(url: str) -> str:
    # Not repeated in the message: the address of a webhook is its key.
    if not url.startswith(("https://", "http://")):
        raise UsageError("notify: url is no address", hint="it begins with https://")
    return url
