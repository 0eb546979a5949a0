"""How channels, messages and callbacks stand, as figures in Prometheus' text format.

All comes from the database when it is asked for, so every process tells the same, and a restart loses nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.callbacks.overview import EndpointStanding
from worker.channels.overview import ChannelStanding
from worker.domain.channel_state import ChannelState
from worker.outbox.rates import Rates
from worker.self_report import truetick_version

__all__ = ["CONTENT_TYPE_LATEST", "EXAMPLE", "written"]

EXAMPLE = 'truetick_messages_pending{channel="default"} 12.0\ntruetick_channel_flowing{channel="default"} 1.0\n'

_OF_CHANNELS: Mapping[str, tuple[str, Callable[[ChannelStanding], float | datetime | None]]] = {
    "channel_flowing": (
        "1: it can send by fresh evidence, and nothing holds it up. Alert on 0. None of a channel without a key that "
        "nothing waits for.",
        lambda channel: None if channel.unused else float(channel.flowing),
    ),
    "channel_verified": (
        "1: its state rests on an answer of WaSender that is fresh enough to trust.",
        lambda channel: float(channel.verified),
    ),
    "channel_checked_timestamp_seconds": (
        "When WaSender last said how it stands, in Unix time.",
        lambda channel: channel.checked_at,
    ),
    "channel_last_tick_timestamp_seconds": (
        "When WhatsApp last ticked one of its messages, in Unix time.",
        lambda channel: channel.last_tick_at,
    ),
    "channel_last_webhook_timestamp_seconds": (
        "When a webhook last came for it, in Unix time.",
        lambda channel: channel.last_webhook_at,
    ),
    "channel_unacked_window": (
        "How many of its messages may be without a tick at present.",
        lambda channel: channel.unacked_window,
    ),
    "channel_pace_messages_per_second": (
        "How fast it may send, as it is set up.",
        lambda channel: channel.pacing.pace.messages / channel.pacing.pace.seconds,
    ),
    "channel_slowdown_ratio": (
        "How many times as slow as set up it sends, because WaSender refused that pace.",
        lambda channel: channel.pacing.slowdown,
    ),
    "channel_posts_today": ("What was posted on the present day (UTC).", lambda channel: channel.posts_today),
    "messages_pending": ("Messages that the CRM sees as pending.", lambda channel: channel.pending),
    "messages_unacked": (
        "Messages that WaSender accepted and WhatsApp has not ticked.",
        lambda channel: channel.unacked,
    ),
    "messages_in_doubt": ("Messages of which nobody knows whether they went out.", lambda channel: channel.in_doubt),
    "messages_attention": ("Messages that wait for a person's decision.", lambda channel: channel.attention),
}


def written(
    channels: Sequence[ChannelStanding],
    rates: Mapping[int, tuple[Rates, Rates]],
    endpoints: Sequence[EndpointStanding],
) -> bytes:
    """All figures, of the type CONTENT_TYPE_LATEST. `rates`: of the last hour and of the last day, by channel id."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures([*_about(channels), *_lately(channels, rates), *_callbacks(endpoints)]))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def _about(channels: Sequence[ChannelStanding]) -> Iterator[Metric]:
    yield InfoMetricFamily("truetick_build", "Which Truetick this is.", value={"version": truetick_version()})
    state = GaugeMetricFamily("truetick_channel_state", "1 for the state it is in.", labels=["channel", "state"])
    for channel in channels:
        for one in ChannelState:
            state.add_metric([channel.name, one.value], float(channel.state is one))
    yield state
    for name, (meaning, figure_of) in _OF_CHANNELS.items():
        family = GaugeMetricFamily(f"truetick_{name}", meaning, labels=["channel"])
        for channel in channels:
            figure = figure_of(channel)
            if figure is not None:
                family.add_metric([channel.name], figure.timestamp() if isinstance(figure, datetime) else figure)
        yield family
    ticks = CounterMetricFamily(
        "truetick_ticks", "Transitions by WhatsApp's ticks, by how they were learnt.", labels=["channel", "learnt_by"]
    )
    for channel in channels:
        ticks.add_metric([channel.name, "webhook"], channel.ticks_by_webhook)
        ticks.add_metric([channel.name, "asking"], channel.ticks_by_asking)
    yield ticks


def _lately(channels: Sequence[ChannelStanding], rates: Mapping[int, tuple[Rates, Rates]]) -> Iterator[Metric]:
    counts = GaugeMetricFamily(
        "truetick_messages_last_hour",
        "What WaSender accepted in the last hour, how much of it WhatsApp has ticked and delivered by now, and what "
        "failed in that time.",
        labels=["channel", "outcome"],
    )
    took = GaugeMetricFamily(
        "truetick_tick_latency_seconds",
        "How long WhatsApp's first tick took in the last hour.",
        labels=["channel", "quantile"],
    )
    for channel in channels:
        hour, _ = rates[channel.id]
        for outcome, count in (
            *(("accepted", hour.accepted), ("sent", hour.sent)),
            *(("delivered", hour.delivered), ("failed", hour.failed)),
        ):
            counts.add_metric([channel.name, outcome], count)
        for quantile, seconds in (("0.5", hour.tick_median_s), ("0.95", hour.tick_p95_s)):
            if seconds is not None:
                took.add_metric([channel.name, quantile], seconds)
    yield counts
    yield took


def _callbacks(endpoints: Sequence[EndpointStanding]) -> Iterator[Metric]:
    counts = GaugeMetricFamily(
        "truetick_callbacks",
        "Changes that an endpoint has not been told: those still to be tried, and those given up (parked).",
        labels=["endpoint", "state"],
    )
    for endpoint in endpoints:
        counts.add_metric([endpoint.name, "waiting"], endpoint.waiting)
        counts.add_metric([endpoint.name, "parked"], endpoint.parked)
    yield counts
