"""Alarms: people are told of an outage when it is due, and once more when it is over; by a log line and, where there
are addresses for it, by a notice. When an alarm is due is not decided here."""

from collections.abc import Sequence
from datetime import datetime

import structlog

from worker.channels import alarm_claims, outage_audit
from worker.channels.alarm_claims import News
from worker.channels.outage_audit import AtRisk
from worker.courier import Errand, Notice
from worker.database import snapshot, transaction
from worker.domain.channel_state import remedy
from worker.domain.durations import lasting
from worker.outbox.reading import backlog
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many outages are taken up together; the next sweep goes on.
BATCH = 200
#: How many of them one notice describes.
DESCRIBED = 10


def sound_alarms(parts: Parts) -> int:
    """Take up what people have to be told. Returns of how many outages; the telling itself goes on in the background.

    Safe to run twice at once. What no address takes is due again after a minute, as is what this process was telling
    when it ended.
    """
    if parts.courier.busy:
        return 0
    now = parts.clock()
    with snapshot(parts.engine) as connection:
        if not alarm_claims.anything_due(connection, now=now):
            return 0
    with transaction(parts.engine) as connection:
        news = alarm_claims.take_due(connection, now=now, most=BATCH)
    for one in news:
        _log(one)
    # The older news first: a channel may have come up and gone down again.
    groups = ([one for one in news if one.ended_at], [one for one in news if not one.ended_at])
    errands = [_errand(parts, group, now) for group in groups if group]
    if errands:
        parts.courier.carry(errands)
    return len(news)


def _log(news: News) -> None:
    since = news.began_at.isoformat()
    about = {"channel": news.channel, "outage": news.outage_id, "state": news.state.value, "reason": news.reason}
    if news.ended_at is None:
        advice = remedy(news.state, news.reason, news.channel)
        log.error("channel_alarm", **about, since=since, advice=advice)
    else:
        log.info("channel_alarm_over", **about, since=since, until=news.ended_at.isoformat())


def _errand(parts: Parts, news: Sequence[News], now: datetime) -> Errand:
    """One notice for all: a gateway that goes away takes every channel with it."""
    over = news[0].ended_at is not None
    ids = [one.outage_id for one in news]
    with snapshot(parts.engine) as connection:
        pending = backlog(connection, [one.channel_id for one in news])
        waiting = {channel_id: sum(counts.values()) for channel_id, counts in pending.items()}
        at_risk = outage_audit.at_risk(connection, ids)

    def told() -> None:
        with transaction(parts.engine) as connection:
            if over:
                alarm_claims.all_clear_told(connection, ids)
            else:
                alarm_claims.alarm_told(connection, ids, now=parts.clock())

    paragraphs = []
    for one in news[:DESCRIBED]:
        queue, risked = waiting.get(one.channel_id, 0), at_risk[one.outage_id]
        paragraphs.append(_all_clear(one, queue, risked) if over else _alarm(one, queue, risked, now))
    if len(news) > DESCRIBED:
        paragraphs.append(f"And {len(news) - DESCRIBED} more. See: truetick outages")
    return Errand(notice=Notice(title=_title(news), body="\n\n".join(paragraphs), good=over), told=told)


def _title(news: Sequence[News]) -> str:
    first, over = news[0], news[0].ended_at is not None
    if len(news) > 1:
        return f"{len(news)} channels: " + ("the outages are over" if over else "messages do not go out")
    return f"Channel {first.channel}: " + (
        "the outage is over" if over else f"messages do not go out ({_how(first)})"
    )


def _alarm(news: News, waiting: int, risked: AtRisk, now: datetime) -> str:
    began = f"{_at(news.began_at)} ({lasting(now - news.began_at)} ago)"
    lines = [f"Channel {news.channel} is {_how(news)}. It began at about {began}.", _waiting(waiting)]
    if risked.unresolved == 1:
        lines.append("1 message is at risk: WaSender may have it, and WhatsApp has not ticked it.")
    elif risked.unresolved:
        lines.append(
            f"{risked.unresolved} messages are at risk: WaSender may have them, and WhatsApp has not ticked them."
        )
    advice = remedy(news.state, news.reason, news.channel)
    return "\n".join([*lines, *([f"What to do: {advice}"] if advice else [])])


def _all_clear(news: News, waiting: int, risked: AtRisk) -> str:
    assert news.ended_at is not None
    lasted = lasting(news.ended_at - news.began_at)
    ended = f"until {_at(news.ended_at)} ({lasted})"
    lines = [f"Channel {news.channel} was {_how(news)} from about {_at(news.began_at)} {ended}."]
    lines.append(_waiting(waiting) if news.up else "It does not send yet. See: truetick status")
    if risked.total:
        count = "1 message was" if risked.total == 1 else f"{risked.total} messages were"
        lines.append(f"{count} at risk; what became of them: truetick outages {news.outage_id}")
    return "\n".join(lines)


def _how(news: News) -> str:
    return f"{news.state} ({news.reason})" if news.reason else news.state.value


def _waiting(count: int) -> str:
    if not count:
        return "No message waits."
    return "1 message waits." if count == 1 else f"{count} messages wait."


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
