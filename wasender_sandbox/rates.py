"""The 429 answers and X-RateLimit-* headers of a channel, in every spelling the switches know."""

import math

from aiohttp import web

from wasender_sandbox import attempts, replies
from wasender_sandbox.channels import Channel
from wasender_sandbox.clock import seconds_to_midnight
from wasender_sandbox.throttle import DailyCap, Limit, Throttle
from wasender_sandbox.world import World

#: WaSender's limits of look-ups by plan, per endpoint and session: per minute and per day.
UTILITY = {"paid": (60, 1000), "trial": (10, 100)}


def take_send_slot(world: World, channel: Channel, arrived_at: float) -> tuple[str, web.Response] | None:
    """Use up one send of the channel's limits, or the reason and 429 answer why not."""
    cap = world.switches.concurrency_limit
    if cap and channel.in_flight > cap:
        return "concurrency", replies.throttled("Too many concurrent requests.", _retry_after(world, 1, 1))
    throttle = world.throttle_for(channel)
    wait_s = throttle.take(arrived_at)
    if wait_s > 0 and throttle.limit is not None:
        retry = _retry_after(world, wait_s, throttle.limit.per_s)
        text = world.switches.throttle_text or _throttle_text(channel, throttle.limit)
        return attempts.THROTTLE, _with_retry_header(world, replies.throttled(text, retry), wait_s)
    if not channel.daily.take(world.gateway_now()):
        throttle.give_back()
        wait_s = seconds_to_midnight(world.gateway_now())
        absent = world.switches.daily_retry_after == "absent"
        retry = {} if absent else _retry_after(world, wait_s, wait_s)
        text = f"You have reached your daily limit of {channel.daily_cap} messages."
        return "daily_cap", _with_retry_header(world, replies.throttled(text, retry), wait_s)
    return None


def give_send_slot_back(world: World, channel: Channel) -> None:
    """Undo `take_send_slot` for a refused request, when refusals do not count."""
    world.throttle_for(channel).give_back()
    channel.daily.give_back()


def send_headers(world: World, channel: Channel, *, limited: bool) -> dict[str, str]:
    """X-RateLimit-* of /send-message; daily ones where there is a cap."""
    switches = world.switches
    throttle = world.throttle_for(channel)
    if switches.rate_headers == "off" or (switches.rate_headers == "limited_only" and not limited):
        return {}
    headers: dict[str, str] = {}
    now = world.clock.now()
    if throttle.limit is not None:
        headers["X-RateLimit-Limit"] = str(throttle.limit.count)
        headers["X-RateLimit-Remaining"] = str(throttle.remaining(now))
        headers["X-RateLimit-Reset"] = str(_reset(world, throttle.reset_s(now)))
    if channel.daily_cap:
        headers |= _daily_headers(world, channel.daily)
    return headers


def take_utility_slot(world: World, channel: Channel, endpoint: str) -> tuple[web.Response | None, dict[str, str]]:
    """Use up one look-up of that endpoint: the 429 answer if there is none left, and the daily headers."""
    if not world.switches.utility_limits:
        return None, {}
    counters = world.utility.get((channel.api_key, endpoint))
    if counters is None:
        per_minute, per_day = UTILITY[channel.plan]
        counters = Throttle(Limit(per_minute, 60.0)), DailyCap(per_day)
        world.utility[(channel.api_key, endpoint)] = counters
    throttle, daily = counters
    wait_s = throttle.take(world.clock.now())
    if wait_s <= 0 and not daily.take(world.gateway_now()):
        wait_s = seconds_to_midnight(world.gateway_now())
    headers = _daily_headers(world, daily)
    if wait_s <= 0:
        return None, headers
    answer = replies.throttled("Too Many Attempts.", _retry_after(world, wait_s, 60.0), headers)
    return _with_retry_header(world, answer, wait_s), headers


def _daily_headers(world: World, daily: DailyCap) -> dict[str, str]:
    now = world.gateway_now()
    return {
        "X-RateLimit-Daily-Limit": str(daily.cap),
        "X-RateLimit-Daily-Remaining": str(daily.remaining(now)),
        "X-RateLimit-Daily-Reset": str(math.ceil(seconds_to_midnight(now))),
    }


def _throttle_text(channel: Channel, limit: Limit) -> str:
    if channel.plan == "trial":
        return "You are on a free trial. You can only send 1 message every 1 minute."
    if limit.count == 1:
        return f"You have account protection enabled. You can only send 1 message every {limit.per_s:g} seconds."
    return "Too Many Attempts."


def _retry_after(world: World, wait_s: float, nominal_s: float) -> dict[str, int]:
    how = world.switches.retry_after
    if how == "absent":
        return {}
    seconds = math.ceil(nominal_s if how == "nominal" else wait_s)
    return {"retryAfter" if how == "camel_case" else "retry_after": max(seconds, 1)}


def _with_retry_header(world: World, answer: web.Response, wait_s: float) -> web.Response:
    if world.switches.retry_after_header:
        answer.headers["Retry-After"] = str(math.ceil(wait_s))
    return answer


def _reset(world: World, reset_s: float) -> int:
    """Seconds until the reset, or the Unix second of it."""
    if world.switches.rate_reset == "epoch":
        return math.ceil(world.gateway_now() + reset_s)
    return math.ceil(reset_s)
