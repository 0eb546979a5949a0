"""Channel settings as people give them: in JSON to the control API, or in one line on the command line."""

from collections.abc import Mapping
from typing import Any

from wasender_sandbox.channels import ACCOUNT_PROTECTION, WEBHOOK_EVENTS, Channel, read_status
from wasender_sandbox.errors import ControlError
from wasender_sandbox.spans import Span
from wasender_sandbox.throttle import MODES, Limit

#: Names of a channel specification on the command line to names of settings.
SHORT = {"key": "api_key", "webhook": "webhook_url", "secret": "webhook_secret", "phone": "phone_number"}

SETTINGS = (
    "limit",
    "limit_mode",
    "daily_cap",
    "plan",
    "phone_number",
    "status",
    "says",
    "log_messages",
    "webhook_url",
    "webhook_secret",
    "webhook_enabled",
    "webhook_events",
    "latency_before",
    "latency_after",
)


def read_spec(spec: str) -> dict[str, Any]:
    """`name=sales,key=abc,limit=1/5,status=need_scan,webhook=URL,secret=S` as settings; `|` separates events."""
    settings: dict[str, Any] = {}
    for part in filter(None, spec.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ControlError(f"{part!r} in --channel {spec!r} is not name=value.")
        name = SHORT.get(name.strip(), name.strip())
        settings[name] = value.split("|") if name == "webhook_events" else value.strip()
    if "name" not in settings:
        raise ControlError(f"--channel {spec!r} has no name: begin with name=…")
    return settings


def apply_settings(channel: Channel, settings: Mapping[str, Any]) -> None:
    """Check all settings, then change the channel. `status` is set silently; use the status endpoint to tell it."""
    unknown = [name for name in settings if name not in SETTINGS]
    if unknown:
        raise ControlError(f"A channel has no setting {unknown[0]!r}. Settings: {', '.join(SETTINGS)}.")
    limit = Limit.parse(settings["limit"]) if "limit" in settings else channel.limit
    mode = str(settings.get("limit_mode", channel.limit_mode))
    if mode not in MODES:
        raise ControlError(f"limit_mode is one of {', '.join(MODES)}, not {mode!r}.")
    plan = str(settings.get("plan", channel.plan))
    if plan not in {"paid", "trial"}:
        raise ControlError(f"plan is paid or trial, not {plan!r}.")
    status = read_status(str(settings.get("status", channel.status)))
    says = settings.get("says", channel.says)
    cap = _whole("daily_cap", settings.get("daily_cap", channel.daily_cap))
    events = _events(settings.get("webhook_events", channel.webhook_events))
    spans = {
        name: Span.parse(settings[name]) if settings[name] is not None else None
        for name in ("latency_before", "latency_after")
        if name in settings
    }
    channel.plan, channel.status = plan, status
    channel.says = read_status(str(says)) if says else None
    channel.webhook_events = events
    for name, span in spans.items():
        setattr(channel, name, span)
    if "limit" in settings or "limit_mode" in settings:
        channel.set_limit(limit, mode)
        channel.account_protection = limit == ACCOUNT_PROTECTION
    if "daily_cap" in settings:
        channel.set_daily_cap(cap)
    channel.phone_number = str(settings.get("phone_number") or channel.phone_number)
    if "webhook_url" in settings:
        channel.webhook_url = settings["webhook_url"] or None
    if "webhook_secret" in settings:
        channel.webhook_secret = str(settings["webhook_secret"] or "")
    for name in ("log_messages", "webhook_enabled"):
        if name in settings:
            setattr(channel, name, str(settings[name]).lower() in {"true", "1", "on", "yes"})


def _whole(name: str, raw: object) -> int:
    if not str(raw).isdecimal():
        raise ControlError(f"{name} is a whole number, 0 for none, not {raw!r}.")
    return int(str(raw))


def _events(raw: object) -> list[str] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or not all(isinstance(event, str) for event in raw):
        raise ControlError(f"webhook_events is a list of event names such as {', '.join(WEBHOOK_EVENTS[:3])}.")
    return list(raw)
