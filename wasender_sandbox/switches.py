"""Every undocumented or varying behaviour of WaSender as a named switch, with the sandbox's default.

A number such as "#7" names the open question about the live gateway that the switch stands for.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from wasender_sandbox.errors import ControlError
from wasender_sandbox.spans import Span

_ACK_AFTER, _DELIVERED_AFTER, _READ_AFTER = Span(0.3, 0.3), Span(0.8, 0.8), Span(2.0, 2.0)

PENDING_MODES = ("later", "failed", "stuck")


def _switch(default: object, question: str, meaning: str, choices: tuple[object, ...] = ()) -> Any:
    return field(default=default, metadata={"question": question, "meaning": meaning, "choices": choices})


@dataclass(slots=True)
class Switches:
    """The present behaviour. `set` parses and checks; attributes are read directly."""

    # --- sending
    accept_when_down: bool = _switch(False, "#1", "Accept messages while the session is down")
    down_http_status: int = _switch(200, "#2", "HTTP status of the not-connected refusal", (200, 400, 409, 422, 500))
    pending_when_down: str = _switch(
        "later", "#3 #4", "Accepted, then the session drops: sent later, failed, or stuck", PENDING_MODES
    )
    pending_when_muted: str = _switch(
        "later", "#3 #4", "Accepted while mute, then unmuted: sent later, failed, or stuck", PENDING_MODES
    )
    not_on_whatsapp: str = _switch(
        "sync", "#12", "Unknown numbers: 422 at once, or accepted and failed", ("sync", "async")
    )
    not_on_whatsapp_flaky: float = _switch(0.0, "#13", "Chance that a good number is answered 422")
    spurious_not_connected: float = _switch(0.0, "#38", "Chance of a not-connected refusal while connected")
    deduplicate: bool = _switch(False, "#37", "Answer a repeated message with the first one's msgId")
    handles: str = _switch("reject", "#33", "Username handles (@name) as recipient", ("reject", "accept"))
    lid_recipient: str = _switch("never_ticks", "-", "<digits>@lid as recipient", ("never_ticks", "works", "reject"))
    text_max: int = _switch(4096, "#22", "Longest text before 422")
    media_failures: str = _switch(
        "async", "#22", "Unreachable media URL (*.invalid, 'unreachable')", ("async", "sync", "never")
    )
    validation_http_status: int = _switch(422, "#21", "HTTP status of validation failures", (422, 400))
    subscription_active: bool = _switch(True, "#20", "The account has a subscription or trial")
    subscription_http_status: int = _switch(403, "#20", "HTTP status without subscription", (403, 402, 401, 200))
    invalid_key_text: str = _switch("new", "-", "Wording of an unknown key", ("new", "old"))

    # --- throttles
    refusals_consume_rate: bool = _switch(True, "#14", "Refused requests (422, not connected) use up the rate")
    check_order: str = _switch("throttle_first", "#15", "Which is checked first", ("throttle_first", "session_first"))
    rate_scope: str = _switch("session", "#16", "What the send limit counts over", ("session", "account"))
    daily_retry_after: str = _switch(
        "to_midnight", "#17", "retry_after of a daily-cap 429", ("to_midnight", "absent")
    )
    concurrency_limit: int = _switch(5, "#18", "Requests in flight per session before 429; 0 = no limit")
    throttle_text: str = _switch("", "#19", "Text of a throttle 429; empty = WaSender's own by plan")
    retry_after: str = _switch(
        "remaining", "-", "retry_after in a 429 body", ("remaining", "nominal", "camel_case", "absent")
    )
    retry_after_header: bool = _switch(False, "-", "Also send Retry-After")
    rate_headers: str = _switch("always", "#34", "X-RateLimit-* headers", ("always", "limited_only", "off"))
    rate_reset: str = _switch("delta", "#34", "X-RateLimit-Reset as seconds or Unix time", ("delta", "epoch"))
    utility_limits: bool = _switch(
        True, "-", "Throttle on-whatsapp and contact pictures (60/min, 1000/day; trial 10, 100)"
    )

    # --- ticks (a Span is immutable, whatever RUF009 thinks)
    ack_after_s: Span = _switch(_ACK_AFTER, "-", "Acceptance to WhatsApp's tick (code 2)")  # noqa: RUF009
    delivered_after_s: Span = _switch(_DELIVERED_AFTER, "-", "Acceptance to delivery (code 3)")  # noqa: RUF009
    read_after_s: Span = _switch(_READ_AFTER, "-", "Acceptance to reading (code 4)")  # noqa: RUF009
    delivered_fraction: float = _switch(1.0, "-", "Share of messages that get code 3")
    read_fraction: float = _switch(0.0, "-", "Share of delivered messages that get code 4")

    # --- info and logs
    info_unknown: int = _switch(404, "#5", "info for an unknown msgId", (404, 403, 200))
    info_foreign: int = _switch(403, "#6", "info for another session's msgId", (403, 404, 200))
    info_in_progress: str = _switch("no_key", "#7", "info before the tick", ("no_key", "not_found", "with_key"))
    info_expires_after_s: float = _switch(0.0, "#8", "How long info works after acceptance; 0 = for ever")
    log_id_is_msg_id: bool = _switch(True, "#9", "message-logs id equals msgId")
    log_zone_offset_h: float = _switch(0.0, "#35", "Zone of message-logs times, hours from UTC")

    # --- sessions
    disconnect_unlinks: bool = _switch(True, "#27", "disconnect needs a new scan")
    restart_unmutes: bool = _switch(True, "-", "A restart ends a mute spell")
    restart_connecting_s: float = _switch(0.0, "#29", "How long a restarted session says connecting; 0 = not at all")
    transient_drop_s: float = _switch(30.0, "#29", "How long a transient drop stays connecting")
    ban_looks_like: str = _switch("logged_out", "#31", "Status of a banned number")
    regenerate_key_grace_s: float = _switch(0.0, "#32", "How long an old key lives on")
    status_case: str = _switch("lower", "-", "Case of GET /status", ("lower", "upper"))
    list_status_case: str = _switch("lower", "-", "Case of statuses in session lists", ("lower", "upper"))
    delete_http_status: int = _switch(204, "-", "Answer of delete session", (204, 200))
    webhook_sync_warning: float = _switch(0.0, "#39", "Chance of a warning when webhook settings are updated")
    sdk_session_fields: bool = _switch(False, "-", "Add user_id, session_data, last_active_at to sessions")

    # --- webhooks
    webhook_retries: int = _switch(1, "#23 #24", "Further attempts after a failed delivery; then lost")
    webhook_retry_after_s: float = _switch(2.0, "#23", "Pause before another attempt")
    webhook_timeout_s: float = _switch(5.0, "#23", "How long the receiver may take")
    webhook_lanes: int = _switch(4, "-", "Parallel deliveries per session; events of a message stay in order")
    message_sent_msg_id: bool = _switch(False, "#10", "message.sent carries msgId")
    message_sent_on_failure: bool = _switch(True, "#11", "message.sent with success:false on failures")
    update_statuses: str = _switch("2,3,4", "#25", "Codes that fire messages.update")
    update_skip: float = _switch(0.0, "#25", "Chance that a messages.update is never fired")
    send_events: str = _switch("both", "#26", "What sending fires", ("both", "upsert", "sent", "none"))
    update_shape: str = _switch("object", "-", "data of messages.update", ("object", "array"))
    update_status_type: str = _switch("int", "-", "status in messages.update", ("int", "string", "word"))
    upsert_shape: str = _switch("array", "-", "data.messages of messages.upsert", ("array", "object"))
    webhook_timestamp: str = _switch(
        "documented", "-", "timestamp: as in each sample, or one way", ("documented", "seconds", "ms", "absent")
    )
    webhook_remote_jid: str = _switch("pn", "-", "key.remoteJid", ("pn", "lid", "e164"))
    session_status_shape: str = _switch("minimal", "-", "session.status form", ("minimal", "with_session_id"))

    # --- time
    clock_skew_s: float = _switch(0.0, "-", "The gateway's clock minus the real one, in its answers")

    def set(self, name: str, raw: object) -> None:
        """Change one switch; raises ControlError naming the known switches or values."""
        spec = {f.name: f for f in fields(self)}.get(name)
        if spec is None:
            known = ", ".join(sorted(f.name for f in fields(self)))
            raise ControlError(f"There is no switch named {name!r}. Known switches: {known}.")
        value = _parse(name, raw, spec.default)
        choices = spec.metadata["choices"]
        if choices and value not in choices:
            raise ControlError(f"{name} must be one of {', '.join(map(str, choices))}, not {raw!r}.")
        setattr(self, name, value)

    def values(self) -> dict[str, object]:
        """Name to present value, ready for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def describe(self) -> list[dict[str, object]]:
        """One row per switch: name, value, default, choices, question, meaning."""
        return [
            {
                "name": f.name,
                "value": _plain(getattr(self, f.name)),
                "default": _plain(f.default),
                "choices": list(f.metadata["choices"]),
                "question": f.metadata["question"],
                "meaning": f.metadata["meaning"],
            }
            for f in fields(self)
        ]


_TRUE = {"true", "on", "yes", "1"}
_FALSE = {"false", "off", "no", "0"}


def _parse(name: str, raw: object, default: object) -> object:
    if isinstance(default, Span):
        return Span.parse(raw)
    if isinstance(default, bool):
        word = str(raw).lower()
        if word not in _TRUE | _FALSE:
            raise ControlError(f"{name} is on or off, not {raw!r}.")
        return word in _TRUE
    if isinstance(default, str):
        return str(raw)
    kind = type(default)
    try:
        return kind(str(raw))  # type: ignore[call-arg]
    except ValueError:
        raise ControlError(f"{name} is a number ({kind.__name__}), not {raw!r}.") from None


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Span) else value
