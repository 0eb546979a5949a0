"""Delivering events to a channel's webhook URL: lanes, retries, and the trouble events get into on their way.

Events of one message share a lane and arrive in order unless they are told to get lost, doubled, late or reordered.
What cannot be delivered after the retries is gone, as nobody knows of a second chance at the real gateway.
"""

import asyncio
import json
from collections import deque
from dataclasses import dataclass

import aiohttp

from wasender_sandbox import events
from wasender_sandbox.channels import Channel
from wasender_sandbox.world import World

SIGNATURE_HEADER = "X-Webhook-Signature"

#: Events waiting per lane before the oldest are given up, so that a dead receiver cannot fill the memory.
LANE_CAPACITY = 20_000

#: How far a reordered event is put off, in seconds.
REORDER_S = (0.2, 0.8)

_dumps = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class DeliveryCounts:
    """What became of webhook events."""

    emitted: int = 0
    delivered: int = 0
    failed_attempts: int = 0
    given_up: int = 0
    lost_on_purpose: int = 0
    doubled_on_purpose: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class _Event:
    lane: tuple[int, int]
    url: str
    secret: str
    body: bytes
    attempt: int = 0


class Webhooks:
    """Emits events for channels that want them. Needs `start` before the first delivery and `stop` at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._session: aiohttp.ClientSession | None = None
        self._lanes: dict[tuple[int, int], deque[_Event]] = {}
        self._workers: dict[tuple[int, int], asyncio.Task[None]] = {}
        self.counts = DeliveryCounts()

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64, ssl=False))

    async def stop(self) -> None:
        self.reset()
        if self._session is not None:
            await self._session.close()

    def reset(self) -> None:
        """Forget all events under way."""
        for worker in self._workers.values():
            worker.cancel()
        self._workers.clear()
        self._lanes.clear()
        self.counts = DeliveryCounts()

    def emit(self, channel: Channel, event: str, data: object, *, unit: str | None, lane: int = 0) -> None:
        """Send `event` if the channel wants it. `unit`: seconds, ms or None, as in the documented sample."""
        if not channel.wants(event):
            return
        world, trouble = self._world, self._world.trouble_for(channel)
        self.counts.emitted += 1
        if trouble.lost and world.rng.random() < trouble.lost:
            self.counts.lost_on_purpose += 1
            return
        body = events.envelope(world.switches, channel, event, data, world.gateway_now(), unit)
        item = _Event(
            lane=(channel.id, lane % max(world.switches.webhook_lanes, 1)),
            url=channel.webhook_url or "",
            secret=channel.webhook_secret,
            body=_dumps(body).encode(),
        )
        delay = trouble.delay.draw(world.rng)
        if trouble.reordered and world.rng.random() < trouble.reordered:
            delay += world.rng.uniform(*REORDER_S)
        self._enqueue_in(delay, item)
        if trouble.doubled and world.rng.random() < trouble.doubled:
            self.counts.doubled_on_purpose += 1
            self._enqueue_in(delay + world.rng.uniform(0.0, 0.3), item)

    async def settle(self, channel: Channel, timeout_s: float = 2.0) -> None:
        """Wait until the channel's lanes are empty, or the time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while loop.time() < end and any(lane[0] == channel.id for lane in self._workers):
            await asyncio.sleep(0.002)

    @property
    def waiting(self) -> int:
        """Events in lanes, not yet delivered."""
        return sum(map(len, self._lanes.values()))

    def _enqueue_in(self, delay: float, item: _Event) -> None:
        if delay > 0:
            self._world.schedule.at(self._world.clock.now() + delay, self._enqueue, item)
        else:
            self._enqueue(item)

    def _enqueue(self, item: _Event) -> None:
        lane = self._lanes.setdefault(item.lane, deque())
        if len(lane) >= LANE_CAPACITY:
            lane.popleft()
            self.counts.given_up += 1
        lane.append(item)
        if item.lane not in self._workers:
            self._workers[item.lane] = asyncio.ensure_future(self._work(item.lane))

    async def _work(self, name: tuple[int, int]) -> None:
        lane = self._lanes[name]
        while lane:
            await self._deliver(lane.popleft())
        if self._workers.get(name) is asyncio.current_task():
            del self._workers[name]

    async def _deliver(self, item: _Event) -> None:
        switches = self._world.switches
        problem = await self._post(item, switches.webhook_timeout_s)
        if not problem:
            self.counts.delivered += 1
            return
        self.counts.failed_attempts += 1
        self.counts.last_error = problem
        if switches.webhook_retries < 0 or item.attempt < switches.webhook_retries:
            again = _Event(item.lane, item.url, item.secret, item.body, item.attempt + 1)
            self._enqueue_in(max(switches.webhook_retry_after_s, 0.01), again)
        else:
            self.counts.given_up += 1

    async def _post(self, item: _Event, timeout_s: float) -> str:
        if self._session is None:
            return "the sandbox is not running"
        headers = {"Content-Type": "application/json", "User-Agent": "wasender-sandbox"}
        if item.secret:
            headers[SIGNATURE_HEADER] = item.secret
        try:
            async with self._session.post(
                item.url,
                data=item.body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                await answer.read()
                return "" if 200 <= answer.status < 300 else f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
