"""The log events of all processes beside the requests' own line: how loud each is and what it says.

The edges (`entrypoints`) hand `leveled` loggers to whoever has something to note. The reference page and the code are
tested against this list.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from shipway.telemetry.logs import Logger

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One kind of line; what someone has to look at is a `warning`, what a user was failed by an `error`."""

    name: str
    level: Level
    help: str
    fields: tuple[str, ...] = ()


EVENTS = (
    LogEvent("budget_alert", "warning", "A budget passed 80, 100 or 120 %, or refused a request for the first time.",
             ("budget", "percent", "spent_usd", "limit_usd")),
    LogEvent("limits_lost", "warning", "Redis does not answer; `mode` is what `redis.on_loss` chose.",
             ("mode", "error")),
    LogEvent("limits_back", "info", "Redis counts again.", ("attempts",)),
    LogEvent("limits_not_counted", "warning", "Redis refused to count what a request has used.", ("error",)),
    LogEvent("settlement_dropped", "warning", "What a request used was not counted: too much waited for Redis.",
             ("tokens", "nano_usd")),
    LogEvent("limits_reclaimed", "info", "What killed workers had reserved was given back.", ("workers",)),
    LogEvent("budgets_not_saved", "warning", "What is spent could not be saved; it is tried again.", ("error",)),
    LogEvent("snapshot_applied", "info", "The worker serves by another snapshot.", ("version", "epoch")),
    LogEvent("snapshot_applied_in_part", "warning", "Some releases of a snapshot cannot be loaded here.",
             ("version", "epoch", "without")),
    LogEvent("snapshot_refused", "warning", "A snapshot of a leader that was replaced.",
             ("version", "epoch", "seen_epoch")),
    LogEvent("snapshot_not_read", "warning", "The store does not answer; the last snapshot stays.", ("error",)),
    LogEvent("dead_man_tripped", "warning", "No leader speaks, so the candidate gets no traffic.", ("version",)),
    LogEvent("dead_man_released", "info", "The leader speaks again.", ("version",)),
    LogEvent("release_not_loaded", "warning", "A release cannot be loaded; it is tried again.",
             ("release", "error", "retry_in_s")),
    LogEvent("release_closed", "info", "A release is not served any more.", ("release",)),
    LogEvent("release_not_closed", "warning", "A release left something behind.", ("release", "error")),
    LogEvent("release_kept_as_it_was", "warning", "A release does not load with the new configuration; the old one "
             "goes on.", ("error",)),
    LogEvent("worker_not_reported", "warning", "Control does not learn what this worker obeys.", ("error",)),
    LogEvent("flags_refused", "warning", "The flags of a snapshot are wrong; the old ones stay.",
             ("version", "error")),
    LogEvent("config_applied", "info", "The worker serves by another configuration.", ("revision",)),
    LogEvent("config_refused", "warning", "The worker cannot serve by a configuration; the old one stays.",
             ("revision", "error")),
    LogEvent("config_not_answered", "warning", "Nobody learns what the worker made of a configuration.", ("error",)),
    LogEvent("config_not_followed", "warning", "The worker cannot read what `shipway reload` asks.", ("error",)),
    LogEvent("config_not_closed", "warning", "A configuration left something behind.", ("error",)),
    LogEvent("config_retired", "info", "The last request by an old configuration has ended.", ("tables",)),
    LogEvent("issuer_keys_read", "info", "The public keys of a token issuer.", ("issuer", "keys")),
    LogEvent("issuer_keys_not_read", "warning", "An issuer does not answer; keys known before stay valid.",
             ("issuer", "error")),
    LogEvent("request_failed", "error", "A defect; the client got 500.", ("request_id", "error")),
    LogEvent("engine_error", "warning", "An engine ended a stream with an error of its own; `said` begins its words, "
             "masked.", ("request_id", "model", "said")),
    LogEvent("record_not_written", "error", "A request that had failed before could not be recorded either.",
             ("request_id", "error")),
    LogEvent("client_not_reading", "info", "A client did not take the reply's last words.", ("request_id",)),
    LogEvent("cache_unavailable", "warning", "The store of answers does not answer; requests go to the engines.",
             ("error",)),
    LogEvent("cache_embedding_failed", "warning", "A question could not be compared; it was a miss.", ("error",)),
    LogEvent("cache_forgot_release", "info", "Answers of a release that is not served any more.",
             ("release", "answers")),
    LogEvent("semantic_cache_on", "info", "Similar questions share answers.", ("threshold", "bound")),
    LogEvent("semantic_cache_off", "warning", "Similar questions share nothing, and why.", ("reason",)),
    LogEvent("memory_unavailable", "warning", "A conversation was answered without its past, or not remembered.",
             ("request_id", "error")),
    LogEvent("memory_not_purged", "warning", "Old conversations could not be deleted; it is tried again.",
             ("error",)),
    LogEvent("shadow_failed", "info", "A shadow copy failed; no user noticed.", ("request_id", "release", "error")),
    LogEvent("answer_sample_failed", "warning", "An answer could not be kept for the judge; no user noticed.",
             ("request_id", "error")),
    LogEvent("quality_broken", "warning", "Goldens, sampled answers or safety checks pass too rarely.",
             ("rule", "route", "release", "n", "passed", "minimum")),
    LogEvent("quality_judge_unavailable", "warning", "The judge of sampled answers cannot be opened.",
             ("judge", "error")),
    LogEvent("quality_job_failed", "warning", "A look at quality failed; the next one follows.",
             ("job", "error", "message")),
    LogEvent("traces_not_exported", "warning", "The traces' target does not take them.", ("error",)),
    LogEvent("traces_exported_again", "warning", "It does again; `dropped` are lost since the start.", ("dropped",)),
    LogEvent("collecting", "info", "This process empties the record spool.", ("directory",)),
    LogEvent("collecting_elsewhere", "info", "Another process empties the record spool.", ("directory",)),
    LogEvent("records_refused", "warning", "The store does not take records; they wait in the spool.", ("error",)),
    LogEvent("records_taken_again", "info", "It does again.", ("failures",)),
    LogEvent("records_torn", "warning", "Lines that a crash left half written.", ("lines",)),
    LogEvent("records_unreadable", "warning", "A file of the spool cannot be read.", ("file", "error")),
    LogEvent("control_port_taken", "info", "The port of the API was taken, so it has another.", ("wanted", "taken")),
    LogEvent("rollout_action", "info", "The controller did a step.", ("rollout", "action", "state")),
    LogEvent("rollout_leader", "info", "This controller leads.", ("epoch",)),
    LogEvent("rollout_leader_fenced", "warning", "Another controller leads.", ("message",)),
    LogEvent("rollout_tick_failed", "warning", "A look at the rollouts failed; the next one follows.",
             ("error", "message")),
    LogEvent("rollout_changed_meanwhile", "info", "Somebody else changed a rollout first.", ("rollout", "message")),
    LogEvent(
        "rollout_check_lost",
        "warning",
        "The result of a rollout's check could not be kept; it is done again.",
        ("check", "error"),
    ),
    LogEvent("rollout_never_stored", "debug", "A rollout that was begun and not stored.", ("rollout",)),
    LogEvent("model_not_loaded", "error", "The embedded model cannot be loaded.", ("model",)),
    LogEvent("generation_failed", "error", "The embedded model failed in an answer.", ("model",)),
    LogEvent("webhooks_ready", "info", "`pipeline serve` takes requests; so many runs waited from before.",
             ("host", "port", "waiting")),
    LogEvent("webhook_refused", "warning", "A request was refused: with 401 it was not from whom it named.",
             ("provider", "status", "reason", "size_bytes")),
    LogEvent("webhook_queued", "info", "A push queued a run.", ("provider", "run", "ref", "commit")),
    LogEvent("webhook_queue_full", "warning", "A push was refused with 429: too many runs wait.", ("provider", "ref")),
    LogEvent("webhook_not_stored", "error", "A push was refused with 503: its run cannot be stored.",
             ("provider", "error")),
    LogEvent("webhook_run", "info", "A run of a push changed its state.", ("run", "state", "ref", "reason")),
    LogEvent("webhook_run_not_stored", "error", "The state of a run cannot be stored; the next receiver takes it up.",
             ("run", "error")),
    LogEvent("webhook_status_lost", "warning", "GitHub or GitLab did not take the status of a run.",
             ("run", "error")),
)  # fmt: skip

_LEVELS: dict[str, Level] = {event.name: event.level for event in EVENTS}


def leveled(log: Logger) -> Callable[..., None]:
    """Return what writes an event at the level that this list gives it; one that is not listed at `info`."""

    def note(event: str, **fields: object) -> None:
        getattr(log, _LEVELS.get(event, "info"))(event, **fields)

    return note
