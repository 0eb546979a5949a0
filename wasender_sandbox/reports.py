"""What the control API tells: channels, ledger pages, recorded sends, and a verdict over the whole run."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Any

from wasender_sandbox.attempts import Attempt
from wasender_sandbox.channels import Channel
from wasender_sandbox.gateway import Gateway
from wasender_sandbox.ledger import Entry

#: Rows per page at most; larger answers would hold up the event loop and with it the arrival times of sends.
PAGE = 2000


def channel_row(gateway: Gateway, channel: Channel) -> dict[str, Any]:
    """One channel with its counts; the secret and key are shown, this is a sandbox."""
    reasons = gateway.world.attempts.reasons.get(channel.name, Counter())
    return {
        "id": channel.id,
        "name": channel.name,
        "api_key": channel.api_key,
        "phone_number": channel.phone_number,
        "status": channel.status,
        "says": channel.says,
        "muted": channel.muted,
        "plan": channel.plan,
        "limit": str(channel.limit) if channel.limit else None,
        "limit_mode": channel.limit_mode,
        "daily_cap": channel.daily_cap,
        "log_messages": channel.log_messages,
        "webhook_url": channel.webhook_url,
        "webhook_secret": channel.webhook_secret,
        "webhook_enabled": channel.webhook_enabled,
        "webhook_events": channel.webhook_events,
        "accepted": len(channel.entries),
        "acked": channel.acked,
        "held": len(channel.held),
        "restarts": channel.restarts,
        "in_flight": channel.in_flight,
        "max_in_flight": channel.max_in_flight,
        "rate_violations": gateway.world.attempts.rate_violations(channel.name),
        "decisions": dict(reasons),
    }


def state(gateway: Gateway) -> dict[str, Any]:
    """Everything but the messages themselves."""
    world, counts = gateway.world, gateway.webhooks.counts
    return {
        "now": world.clock.now(),
        "seed": world.seed,
        "channels": [channel_row(gateway, channel) for channel in world.channels.values()],
        "accepted": len(world.ledger.entries),
        "acked": world.ledger.acked,
        "attempts": len(world.attempts.entries),
        "rate_violations": world.attempts.rate_violations(),
        "scheduled": len(world.schedule),
        "latency": {"before": str(world.latency_before), "after": str(world.latency_after)},
        "faults": [fault.to_json() for fault in world.faults.armed],
        "recipients": world.rules.to_json(),
        "switches": world.switches.values(),
        "webhooks": {name: getattr(counts, name) for name in counts.__slots__}
        | {"waiting": gateway.webhooks.waiting},
    }


def page(rows: Iterable[Entry | Attempt], limit: int) -> dict[str, Any]:
    """`{"rows": […], "next": index or None}`: at most `limit` rows; `next` is the `after` of the next page."""
    limit = min(max(limit, 1), PAGE)
    shown = [row.to_json() for row in islice(rows, limit)]
    return {"rows": shown, "next": shown[-1]["index"] if len(shown) == limit else None}


def verdict(gateway: Gateway) -> dict[str, Any]:
    """The run in numbers: what WhatsApp has, what it has twice, how exactly the pace was kept."""
    world = gateway.world
    acked = [entry for entry in world.ledger.entries if entry.acked_at is not None]
    copies = Counter((entry.recipient, entry.body) for entry in acked)
    return {
        "attempts": len(world.attempts.entries),
        "accepted": len(world.ledger.entries),
        "acked": len(acked),
        "failed": sum(1 for entry in world.ledger.entries if entry.log_status == "failed"),
        "in_progress": sum(1 for entry in world.ledger.entries if entry.log_status == "in_progress"),
        "duplicates": sum(count - 1 for count in copies.values()),
        "rate_violations": world.attempts.rate_violations(),
        "channels": {name: _pace(gateway, channel) for name, channel in world.channels.items()},
    }


def _pace(gateway: Gateway, channel: Channel) -> dict[str, Any]:
    arrivals = sorted(
        attempt.arrived_at for attempt in gateway.world.attempts.entries if attempt.channel == channel.name
    )
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    return {
        "attempts": len(arrivals),
        "min_spacing_s": round(min(gaps), 6) if gaps else None,
        "busiest_window": _busiest(arrivals, channel.limit.per_s) if channel.limit else None,
        "max_in_flight": channel.max_in_flight,
        "rate_violations": gateway.world.attempts.rate_violations(channel.name),
    }


def _busiest(arrivals: list[float], window_s: float) -> int:
    """The most arrivals within any stretch of that many seconds; `arrivals` are sorted."""
    most = first = 0
    for last, moment in enumerate(arrivals):
        while arrivals[first] <= moment - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most
