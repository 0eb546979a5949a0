"""Many slow channels on one worker process: does each keep its own pace, and do their ticks keep up?"""

import statistics
import time
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import func, select

from tests.bench.figures import Figure, at_least, at_most, told
from tests.bench.pending import park
from tests.bench.stage import Servers, Stage, empty_stage
from tests.bench.usage import Meter, Usage, postmaster
from tests.real_servers import wait_until
from worker.database import snapshot
from worker.domain.channel_state import ChannelState
from worker.domain.pace import Pace
from worker.models import Channel, Message

PACE = Pace(1, 5)
LIMIT_S = PACE.seconds / PACE.messages
#: Before and after the sandbox's own work on a POST, and before it answers a question.
LATENCY, QUESTION_LATENCY = "0.02-0.08", "0.04-0.16"
#: Of what the limits allow, and the mean gap that this makes.
LEAST_SHARE = 98.0
MOST_MEAN_S = 5.102
START_WITHIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """What the sandbox saw within the measured time: POSTs, and the gaps between those of one channel."""

    posts: int
    shortest_s: float
    mean_s: float
    slowest_mean_s: float
    longest_s: float


def measure(
    servers: Servers, *, channels: int, seconds: float, threads: int | None, warm_up_s: float = 10.0
) -> list[Figure]:
    """All channels have more to send than there is time for; ticks are learnt by asking alone."""
    with empty_stage(servers) as stage:
        ids = stage.open_channels(channels, PACE, state=ChannelState.UP, limit=str(PACE), limit_mode="spacing")
        with stage.progress() as progress:
            each = int((seconds + START_WITHIN_S) / LIMIT_S) + 2
            park(stage.engine, ids, channels * each, progress)
        stage.sandbox.latency(before=LATENCY, after=LATENCY)
        for endpoint in ("info", "status"):
            stage.sandbox.fault("delay", endpoint=endpoint, seconds=QUESTION_LATENCY)
        settings = {"TRUETICK_SENDER_THREADS": str(threads)} if threads else {}
        with stage.processes("worker", "beat", TRUETICK_LOG_LEVEL="INFO", **settings) as pids:
            wait_until(lambda: _begun(stage) >= channels, within_s=START_WITHIN_S, what="all channels' beginning")
            stage.pass_time("warming up", warm_up_s)
            servers_pids = {"broker": stage.broker.pid, "PostgreSQL": postmaster(stage.engine)}
            meter = Meter({**pids, **servers_pids, "sandbox": stage.sandbox_pid})
            began = float(stage.sandbox.state()["now"])
            stage.pass_time(f"{channels} channels sending", seconds)
            ended = float(stage.sandbox.state()["now"])
            usage = meter.read()
            overdue_s = _overdue_s(stage)
        spacing = _spacing(stage, began, ended)
        return _figures(stage, spacing, usage, overdue_s)


def _figures(stage: Stage, spacing: Spacing, usage: Usage, overdue_s: float) -> list[Figure]:
    latencies = _tick_latencies_s(stage)
    worker_us = usage.cpu_s["worker"] / max(1, spacing.posts) * 1e6
    return [
        at_most("refused as too early", stage.sandbox.rate_violations(), 0, "POSTs", digits=0),
        told("shortest gap on a channel", spacing.shortest_s, "s", digits=3),
        at_most("slowest channel's mean gap", spacing.slowest_mean_s, MOST_MEAN_S, "s", digits=3),
        told("longest gap on a channel", spacing.longest_s, "s", digits=3),
        at_least("of what the limits allow", 100 * LIMIT_S / spacing.mean_s, LEAST_SHARE, "%", digits=1),
        told("messages per second", spacing.posts / usage.seconds, "/s", digits=1),
        told("acceptance to known tick, median", latencies[49], "s"),
        at_most("acceptance to known tick, 99 of 100 within", latencies[98], LIMIT_S, "s"),
        told("the oldest question waits", overdue_s, "s"),
        at_most("channels taken for broken", _not_up(stage), 0, "channels", digits=0),
        told("worker", usage.percent("worker"), "% of a core", digits=0),
        told("worker, per message and its ticks", worker_us, "µs", digits=0),
        told("beat, broker, PostgreSQL", usage.percent("beat", "broker", "PostgreSQL"), "% of a core", digits=0),
        told("the sandbox itself", usage.percent("sandbox"), "% of a core", digits=0),
    ]


def _begun(stage: Stage) -> int:
    """How many channels have had their first message accepted."""
    time.sleep(0.2)
    with snapshot(stage.engine) as connection:
        return connection.execute(
            select(func.count(Message.channel_id.distinct())).where(Message.accepted_at.is_not(None))
        ).scalar_one()


def _spacing(stage: Stage, began: float, ended: float) -> Spacing:
    arrivals: dict[str, list[float]] = {}
    for post in stage.sandbox.requests():
        if post.arrived_at <= ended:
            arrivals.setdefault(post.channel, []).append(post.arrived_at)
    gaps = [_gaps(sorted(moments), began, ended) for moments in arrivals.values()]
    every = [gap for of_channel in gaps for gap in of_channel]
    return Spacing(
        posts=sum(began <= at <= ended for moments in arrivals.values() for at in moments),
        shortest_s=min(every),
        mean_s=statistics.mean(every),
        slowest_mean_s=max(statistics.mean(of_channel) for of_channel in gaps),
        longest_s=max(every),
    )


def _gaps(moments: list[float], began: float, ended: float) -> list[float]:
    """The gaps that end within the measured time; one that has not ended counts once it is too long."""
    gaps = [later - earlier for earlier, later in pairwise(moments) if began <= later]
    rest = ended - moments[-1]
    return gaps if gaps and rest <= PACE.interval_s else [*gaps, rest]


def _tick_latencies_s(stage: Stage) -> list[float]:
    """Percentiles. A message that still waits for its tick counts with its age."""
    with snapshot(stage.engine) as connection:
        waits = connection.execute(
            select(
                func.extract("epoch", func.coalesce(Message.sent_at, func.clock_timestamp()) - Message.accepted_at)
            ).where(Message.accepted_at.is_not(None))
        ).scalars()
        found = [float(wait) for wait in waits]
    return statistics.quantiles(found, n=100, method="inclusive")


def _overdue_s(stage: Stage) -> float:
    """How long the question that has waited longest is overdue."""
    with snapshot(stage.engine) as connection:
        overdue = connection.execute(
            select(func.extract("epoch", func.clock_timestamp() - func.min(Message.next_check_at)))
        ).scalar()
    return max(0.0, float(overdue or 0))


def _not_up(stage: Stage) -> int:
    with snapshot(stage.engine) as connection:
        return connection.execute(
            select(func.count())
            .select_from(Channel)
            .where(Channel.state != ChannelState.UP, Channel.name != "default")
        ).scalar_one()
