"""What endpoints and programs say, as messages quote it."""

import random
import sys

import orjson
import pytest

from shipway.adapters.evaluation_tools.process import run_program
from shipway.core.clock import ManualClock
from shipway.core.errors import UnavailableError, UpstreamError
from shipway.evals.contracts.model import ApiReply, ApiRequest, Contract
from shipway.evals.performance import PerformancePlan
from shipway.evals.ports import HttpReply
from shipway.evals.smoke import SmokeCheck
from shipway.evals.tools.reading import short
from shipway.services.api_contracts import ContractPlan, try_contracts
from shipway.services.performance import ChatEndpoint, PerformanceParts, measure
from shipway.services.smoke import Endpoint, NoEvidence, Waiting, run_smoke
from shipway.services.targets.replies import excerpt, json_of

pytestmark = pytest.mark.anyio

FOREIGN = "sk-" + "secret0123456789" * 3
URL = "http://127.0.0.1:1"
QUESTION = SmokeCheck("paris", "contains", "chat", "Capital?", {"contains": ["Paris"]})


class Service:
    """Answers every request alike."""

    def __init__(self, status, body, headers):
        self._reply = HttpReply(status, headers, body, 1.0, 1.0)

    async def call(self, _request):
        return self._reply


async def _contract(service):
    replies = (ApiReply("200", content_types=("application/json",), schema={"type": "integer"}, has_schema=True),)
    contract = Contract("c", ApiRequest("GET", "/"), replies)
    return [item.message for item in (await try_contracts(service, [contract], ContractPlan(URL), {})).findings]


async def _smoke(service):
    report = await run_smoke([QUESTION], Endpoint(service, URL), NoEvidence("none"), Waiting(ManualClock()))
    return [item.message for item in report.findings]


async def _perf(service):
    parts = PerformanceParts(service, ManualClock(), random.Random(1))
    with pytest.raises(UnavailableError) as caught:
        await measure(ChatEndpoint(f"{URL}/v1/chat/completions", "m", ""), PerformancePlan((1,), 1, 1), parts)
    return [caught.value.message]


async def _target(service):
    with pytest.raises(UpstreamError) as caught:
        json_of(URL, await service.call(None))
    return [caught.value.message]


@pytest.mark.parametrize("ask", [_contract, _smoke, _perf, _target])
@pytest.mark.parametrize(
    "body",
    [
        f"boom {FOREIGN}".encode(),
        orjson.dumps({"error": {"message": f"wrong key {FOREIGN}"}}),
        # Begins right before the end of what is shown, so that a cut would leave a part of it.
        b"." * 185 + b" " + FOREIGN.encode(),
    ],
)
async def test_a_credential_in_an_error_of_an_endpoint_is_nowhere_repeated(ask, body):
    said = await ask(Service(500, body, {}))

    assert any("500" in text and "holds a credential and is not repeated" in text for text in said), said
    assert not any("sk-" in text for text in said)


@pytest.mark.parametrize("ask", [_contract, _target])
async def test_a_credential_is_not_repeated_where_a_reply_is_no_json_or_of_another_type(ask):
    said = await ask(Service(200, FOREIGN.encode(), {"content-type": f"text/plain; key={FOREIGN}"}))

    assert "not JSON" in "".join(said)
    assert "sk-" not in "".join(said)


@pytest.mark.parametrize("ask", [_contract, _target])
async def test_a_redirect_to_an_address_with_a_password_is_told_without_it(ask):
    said = await ask(Service(302, b"", {"location": "http://ann:hush@elsewhere/"}))

    assert "redirect" in "".join(said)
    assert "hush" not in "".join(said)


async def test_an_error_without_a_credential_is_quoted_as_it_is():
    assert await _target(Service(500, b'{"detail": "no model x"}', {})) == [f"{URL} answers 500: no model x"]


@pytest.mark.parametrize("value", [FOREIGN, FOREIGN.encode(), {"error": f"boom {FOREIGN}"}, ["a" * 40 + f" {FOREIGN}"]])
def test_an_excerpt_of_a_value_repeats_no_credential(value):
    assert excerpt(value) == "(what it says holds a credential and is not repeated)"


def test_what_another_tool_wrote_is_shown_without_credentials():
    assert short(f"boom {FOREIGN}") == "(what it says holds a credential and is not repeated)"


async def test_the_end_of_what_a_program_printed_is_shown_without_credentials(tmp_path):
    code = f"print('begins'); print('boom {FOREIGN}', '.' * 390)"

    ended = await run_program([sys.executable, "-c", code], tmp_path, {}, 60.0)

    assert ended.tail.splitlines() == ["begins", "(what it says holds a credential and is not repeated)"]
