"""SEC: what an attacker, or an accident, would find."""

import re

from shipway.config.credentials import is_credential
from shipway.config.sections.secrets import SecretRef
from shipway.config.yaml_source import KeyPath
from shipway.core.personal_data import RegexPii
from shipway.readiness.checks.application import catch_all
from shipway.readiness.checks.monitoring import request_lines
from shipway.readiness.documents import YamlDocument, manifests
from shipway.readiness.facts import Facts
from shipway.readiness.images import DOCKERFILE, dockerfile_of
from shipway.readiness.model import (
    Area,
    Check,
    Effort,
    Evidence,
    Outcome,
    Source,
    UndecidedError,
    failed,
    not_applicable,
    passed,
)

_SECRET_NAME = re.compile(r"(?:^|_)(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_LEAKS = {
    "email": "an e-mail address",
    "card": "a card number",
    "iban": "a bank account",
    "ssn": "a social security number",
}
"""Personal data that no log needs. IP addresses, and numbers shaped like a telephone's, stand in good logs too."""
_DENIED = {401, 403}
_PROTECTED = (
    "POST /v1/chat/completions {}",
    "GET /v1/models",
    "GET /version",
    "GET /metrics",
    "POST /v1/feedback {}",
)
_MANAGERS = {"ExternalSecret", "SecretProviderClass", "SealedSecret", "VaultStaticSecret"}


def secret_manager(facts: Facts) -> Outcome:
    """SEC-1."""
    project = facts.the_project()
    refs: list[tuple[KeyPath, SecretRef]] = [
        (("models", name, "api_key"), model.api_key)
        for name, model in project.models.items()
        if model.api_key is not None
    ]
    if not refs and all(route.kind != "http" for route in project.routes.values()):
        none = [facts.setting("models", name, "engine") for name in project.models]
        return not_applicable("no model needs a key", *none)
    found = manifests(facts.the_repository())
    seen, missing = [], []
    for path, ref in refs:
        place = _managed(found.found, ref.env or "", str(ref.file or ""))
        if place is None:
            missing.append(f"{'.'.join(map(str, path))} ({ref.env or ref.file})")
        else:
            seen += [facts.setting(*path, says=f"from {ref.env or ref.file}"), place]
    if missing or not seen:
        told = ", ".join(missing) or "the service's own keys"
        raise UndecidedError(
            f"where {told} comes from cannot be seen", "attest which secret manager holds it", tuple(seen)
        )
    return passed(*seen)


def _managed(documents: tuple[YamlDocument, ...], name: str, file: str) -> Evidence | None:
    """Return where a manager is named that brings a secret: a reference in a manifest, and who fills it."""
    manager = next((item for item in documents if item.data["kind"] in _MANAGERS), None)
    if manager is None:
        return None
    for document in documents:
        for path, value in _leaves(document.data, ()):
            is_name = path[-1] == "name" and value == name and name
            if is_name and isinstance(_at(document.data, (*path[:-1], "valueFrom")), dict):
                where = f"{document.path}:{document.line(*path)}"
                return Evidence(Source.REPOSITORY, where, f"{name} by reference; {manager.data['kind']} fills it")
            if path[-1] == "mountPath" and file and file.startswith(str(value)):
                where = f"{document.path}:{document.line(*path)}"
                return Evidence(Source.REPOSITORY, where, f"{file} is mounted; {manager.data['kind']} fills it")
    return None


def _leaves(node: object, path: KeyPath) -> list[tuple[KeyPath, object]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in _leaves(value, (*path, str(key)))]
    if isinstance(node, list):
        return [leaf for index, value in enumerate(node) for leaf in _leaves(value, (*path, index))]
    return [(path, node)]


def _at(node: object, path: KeyPath) -> object:
    for part in path:
        if isinstance(node, dict):
            node = node.get(str(part))
        elif isinstance(node, list) and isinstance(part, int):
            node = node[part]
        else:
            return None
    return node


def personal_data(facts: Facts) -> Outcome:
    """SEC-2: this version has no setting that does it, so only a person can say who does."""
    routes = facts.setting("routes", says=", ".join(facts.the_project().routes))
    raise UndecidedError(
        "no setting detects personal data in questions and answers",
        "attest what does it (a proxy, the service's own code)",
        (routes,),
    )


def injection(facts: Facts) -> Outcome:
    """SEC-3."""
    routes = facts.setting("routes", says=", ".join(facts.the_project().routes))
    raise UndecidedError(
        "no setting defends against injected prompts", "attest what does it, and how it is tested", (routes,)
    )


def quiet_logs(facts: Facts) -> Outcome:
    """SEC-4: the setting, and the lines that were really written."""
    setting = facts.setting("logging", "question")
    lines = facts.the_logs().lines
    if not request_lines(lines):
        raise UndecidedError(
            "no request's line is in the log", "serve one request: `shipway up`, then ask it", (setting,)
        )
    for line in lines:
        what = _leaked(line.text)
        if what:
            return failed(
                f"a log line holds what looks like {what}",
                "`logging: { question: hash }`; rotate what leaked",
                setting,
                Evidence(Source.LOGS, line.where, what),
            )
    return passed(setting, Evidence(Source.LOGS, lines[-1].where, f"{len(lines)} lines without personal data or keys"))


def _leaked(text: str) -> str:
    """Return in words what a line must not hold, or nothing."""
    if is_credential(text):
        return "a credential"
    return next((_LEAKS[hit.kind] for hit in RegexPii().find(text) if hit.kind in _LEAKS), "")


def https(facts: Facts) -> Outcome:
    """SEC-5: by every ingress, where there is one, else by the address that is asked."""
    ingresses = [item for item in manifests(facts.the_repository()).found if item.data["kind"] == "Ingress"]
    if ingresses:
        return _by_ingress(facts, ingresses)
    service = facts.the_service()
    if not service.url.startswith("https://"):
        raise UndecidedError(
            f"{service.url} is asked without TLS; what stands before it is not seen",
            "name the public address: `shipway readiness --url https://HOST`, or attest it",
        )
    plain = service.answer("GET / over plain http")
    told = service.evidence("GET / over plain http")
    if plain.status in {301, 302, 307, 308} and plain.headers.get("location", "").startswith("https://"):
        return passed(service.evidence("GET /health"), told)
    return failed("plain HTTP is answered", "redirect it to https at the ingress", told)


def _by_ingress(facts: Facts, ingresses: list[YamlDocument]) -> Outcome:
    seen = []
    for item in ingresses:
        spec = item.data.get("spec")
        if not isinstance(spec, dict) or not spec.get("tls"):
            bare = facts.line(item.path, item.line("kind"), "Ingress without tls")
            return failed("an ingress has no TLS", "`spec: { tls: [{ hosts: [HOST], secretName: NAME }] }`", bare)
        seen.append(facts.line(item.path, item.line("spec", "tls"), "Ingress with TLS"))
        if not _redirects(item):
            raise UndecidedError(
                "an ingress has TLS; that it refuses plain HTTP is not seen",
                'annotate it: `nginx.ingress.kubernetes.io/force-ssl-redirect: "true"`',
                tuple(seen),
            )
        seen.append(facts.line(item.path, item.line("metadata", "annotations"), "redirects plain HTTP"))
    return passed(*seen)


def _redirects(item: YamlDocument) -> bool:
    meta = item.data.get("metadata")
    notes = meta.get("annotations") if isinstance(meta, dict) else None
    names = {"nginx.ingress.kubernetes.io/force-ssl-redirect", "nginx.ingress.kubernetes.io/ssl-redirect"}
    return isinstance(notes, dict) and any(str(notes.get(name)).lower() == "true" for name in names)


def authentication(facts: Facts) -> Outcome:
    """SEC-6: each endpoint is asked without a key."""
    service, project = facts.the_service(), facts.the_project()
    anything = catch_all(service)
    if anything is not None:
        return failed("every path answers 200 without a key", "ask for a key: `shipway serve` does", anything)
    own = tuple(f"GET /svc/{name}/" for name, route in project.routes.items() if route.kind == "http")
    seen = []
    for request in (*_PROTECTED, *own):
        answer = service.answer(request)
        told = service.evidence(request, f"HTTP {answer.status} without a key")
        if answer.status in range(200, 300):
            fix = "`telemetry: { metrics_public: false }`" if request == "GET /metrics" else "ask for a key"
            return failed(f"{request} answers without a key", fix, told)
        if answer.status in _DENIED:
            seen.append(told)
    denied = {item.where.split(" at ")[0] for item in seen}
    unknown = [request for request in (*_PROTECTED[:2], *own) if request not in denied]
    if unknown:
        raise UndecidedError(
            f"{unknown[0]} answers {service.answers[unknown[0]].status}, neither refused nor served",
            "put the service behind the gateway, or attest how each endpoint asks for a key",
            tuple(seen),
        )
    return passed(*seen)


def cost_attacks(facts: Facts) -> Outcome:
    """SEC-7: requests alone are no limit on what they cost."""
    project = facts.the_project()
    rates, budgets = project.rates, project.budgets
    limits: list[tuple[KeyPath, object]] = [
        (("rates", "tokens_per_min"), rates.tokens_per_min),
        (("rates", "tenant_tokens_per_min"), rates.tenant_tokens_per_min),
        (("budgets", "key_daily_usd"), budgets.key_daily_usd),
        (("budgets", "daily_usd"), budgets.daily_usd),
    ]
    set_here = [facts.setting(*path) for path, value in limits if value is not None]
    request = facts.setting("rates", "per_key_min")
    if not set_here:
        return failed("requests are limited, what they cost is not", "`rates: { tokens_per_min: 20000 }`", request)
    return passed(request, *set_here)


def externalised(facts: Facts) -> Outcome:
    """SEC-8: not in git, not in the image."""
    git = facts.the_git()
    tracked = sorted(
        path for path in git.tracked if re.search(r"(?:^|/)\.env(?:\.(?!example$|sample$|template$)\w+)?$", path)
    )
    if tracked:
        return failed(
            f"{tracked[0]} is in git",
            f"`git rm --cached {tracked[0]}`, add it to .gitignore, rotate what is in it",
            Evidence(Source.GIT, f"git ls-files {tracked[0]}", "tracked"),
        )
    if ".env" not in git.ignored:
        return failed(
            ".env is not ignored, so the next `git add .` commits it",
            "add the line `.env` to .gitignore",
            Evidence(Source.GIT, "git check-ignore .env", "not ignored"),
        )
    seen = [Evidence(Source.GIT, "git check-ignore .env", "ignored, and no .env is tracked")]
    found = dockerfile_of(facts)
    for stage in found.stages if found is not None else ():
        for item in stage.instructions:
            words = [word.partition("=") for word in item.value.split()] if item.name in {"ENV", "ARG"} else []
            for name, sign, value in words:
                if _SECRET_NAME.search(name) and sign and value.strip("\"'"):
                    return failed(
                        f"the image holds {name}",
                        "`RUN --mount=type=secret,id=NAME`, or pass it when it starts",
                        facts.line(DOCKERFILE, item.line, f"{item.name} {name}=..."),
                    )
    if found is not None:
        seen.append(facts.line(DOCKERFILE, 1, "no ENV or ARG brings a secret"))
    else:
        seen.append(Evidence(Source.REPOSITORY, DOCKERFILE, "none, so no image"))
    return passed(*seen)


CHECKS = (
    Check(
        Area.SECURITY,
        1,
        "Keys come from a secret manager",
        "D 11",
        3,
        "a key in a shell's history cannot be rotated by anybody else",
        secret_manager,
        "which secret manager holds the keys, and how they get into the processes",
        Effort.STATEMENT,
    ),
    Check(
        Area.SECURITY,
        2,
        "Personal data is detected in questions and answers",
        "D 11",
        3,
        "users type in what they should not",
        personal_data,
        "what detects personal data, where, and how it is tested",
        Effort.WORK,
    ),
    Check(
        Area.SECURITY,
        3,
        "A defence against injected prompts",
        "D 11",
        3,
        "documents and users both try it",
        injection,
        "what defends against injected prompts, and how it is tested",
        Effort.WORK,
    ),
    Check(
        Area.SECURITY,
        4,
        "No personal data and no keys in logs",
        "D 11",
        3,
        "logs are read by more people than databases",
        quiet_logs,
        effort=Effort.RUN,
    ),
    Check(
        Area.SECURITY,
        5,
        "HTTPS alone",
        "D 11",
        3,
        "keys travel in every request",
        https,
        "what ends TLS before the service and refuses plain HTTP",
        Effort.STATEMENT,
    ),
    Check(
        Area.SECURITY,
        6,
        "Endpoints other than health ask for a key",
        "D 11",
        2,
        "what is deployed by itself is found by strangers within hours",
        authentication,
        "how every endpoint asks for a key",
        Effort.RUN,
    ),
    Check(
        Area.SECURITY,
        7,
        "Limits on tokens or money, not on requests alone",
        "D 11",
        3,
        "one long request costs as much as a thousand short ones",
        cost_attacks,
        effort=Effort.LINE,
    ),
    Check(
        Area.SECURITY,
        8,
        "Secrets are neither in git nor in the image",
        "A 12",
        1,
        "an image with a secret in it may not leave the laptop",
        externalised,
        effort=Effort.LINE,
    ),
)
