"""Kombu's transport for Redis, made to lose no task of a CRM's when a worker is killed.

Kombu takes a task out of its list (BRPOP) and then notes, in a second call, that it is not acknowledged yet. A worker
that dies in between takes the task with it. Wake-ups that are lost so are made anew by the sweep, but a CRM's task is
the only trace of its message, so of the CRM's queue a script takes and notes in one step.
"""

import time
from collections.abc import Callable
from typing import Any, ClassVar
from weakref import ref

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import RedisError

from worker.self_report import CRM_QUEUE

log = structlog.get_logger(__name__)

#: A script cannot wait, so a connection of its own waits until there is a task: so long at a time, in whole seconds.
WAIT_S = 1
#: The queue is looked at so often all the same (a task with a priority stands in a list of its own), and so soon
#: again where the worker had no room for more, in seconds.
LOOK_EVERY_S, LOOK_AGAIN_S = 1.0, 0.005
#: So often a worker looks whether it is to consume the CRM's queue at all.
NOT_MINE_S = 0.1
#: So long after trouble with the broker. Who is to connect anew learns of it by the other queues.
AFTER_TROUBLE_S = 1.0

#: KEYS: what is not acknowledged, its index, and the queue's lists by priority. ARGV: the time (Unix). Returns the
#: task, and keeps it as kombu's `QoS.append` does, so that its `restore_visible` brings it back.
_TAKE = """
for number = 3, #KEYS do
  local task = redis.call('RPOP', KEYS[number])
  if task then
    local readable, read = pcall(cjson.decode, task)
    local properties = readable and type(read) == 'table' and read['properties']
    if type(properties) == 'table' and type(properties['delivery_tag']) == 'string' then
      local tag, way = properties['delivery_tag'], properties['delivery_info']
      if type(way) ~= 'table' then way = {} end
      local exchange, key = cjson.encode(way['exchange'] or ''), cjson.encode(way['routing_key'] or '')
      redis.call('ZADD', KEYS[2], ARGV[1], tag)
      redis.call('HSET', KEYS[1], tag, '[' .. task .. ', ' .. exchange .. ', ' .. key .. ']')
    end
    return task
  end
end
return false
"""


def use() -> None:
    """Have this process consume so. Whoever only publishes needs none of it."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


class Channel(redis.Channel):
    @property
    def takes(self) -> bool:
        """Does it consume the CRM's queue?"""
        return CRM_QUEUE in self.active_queues

    def take(self) -> bool:
        """Deliver what waits in the CRM's queue, as far as there is room. False if nothing waited."""
        taken = False
        while self.takes and self.qos.can_consume():
            task = self._take_one()
            if task is None:
                break
            taken = True
            self.connection._deliver(loads(bytes_to_str(task)), CRM_QUEUE)
        return taken

    def _take_one(self) -> bytes | None:
        lists = [self._q_for_pri(CRM_QUEUE, priority) for priority in self.priority_steps]
        with self.conn_or_acquire() as client:
            take = client.register_script(_TAKE)
            taken: bytes | None = take(keys=[self.unacked_key, self.unacked_index_key, *lists], args=[time.time()])
        return taken

    def _update_queue_cycle(self) -> None:
        """The queues for BRPOP."""
        self._queue_cycle.update([queue for queue in self.active_queues if queue != CRM_QUEUE])


class Poller(redis.MultiChannelPoller):
    @property
    def taking(self) -> Channel | None:
        """The channel that consumes the CRM's queue."""
        return next((channel for channel in list(self._channels) if channel.takes), None)

    def get(self, callback: Any, timeout: float | None = None) -> None:
        """Without an event loop: once before each waiting."""
        channel = self.taking
        if channel is None or not channel.take():
            super().get(callback, timeout)


class Transport(redis.Transport):
    Channel = Channel
    #: The one that consumes in an event loop; those before it have lost their connections.
    _consuming: ClassVar[Any] = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = Poller()
        self._watch = Watch()
        self._next_look: Any = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        Transport._consuming = ref(self)
        self._look(loop)

    def _look(self, loop: Any) -> None:
        """Take what there is, and have somebody watch for more."""
        if self._next_look is not None:
            self._next_look.cancel()
        if Transport._consuming is None or Transport._consuming() is not self:
            self._watch.end(loop)
            return
        pause_s = AFTER_TROUBLE_S
        try:
            pause_s = self._take(loop)
        except (RedisError, OSError) as error:
            log.warning("tasks_not_taken", problem=type(error).__name__, advice="the worker tries again")
            self._watch.end(loop)
        finally:
            self._next_look = loop.call_later(pause_s, self._look, loop)

    def _take(self, loop: Any) -> float:
        """Returns after how many seconds to look again if nobody is called before."""
        channel = self.cycle.taking
        if channel is None:
            self._watch.end(loop)
            return NOT_MINE_S
        channel.take()
        if not channel.qos.can_consume():
            return LOOK_AGAIN_S
        self._watch.begin(channel, loop, lambda: self._look(loop))
        return LOOK_EVERY_S


class Watch:
    """Waits on a connection of its own until there is a task in the CRM's queue, without taking it."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._connection: Any = None
        self._file: int = -1
        #: When the broker was asked to say so; None: it has answered.
        self._asked_at: float | None = None

    def begin(self, channel: Channel, loop: Any, call: Callable[[], None]) -> None:
        """Have `call` called as soon as there is a task, and after `WAIT_S` without one."""
        if self._asked_at is not None and time.monotonic() - self._asked_at > 5 * WAIT_S:
            self.end(loop)  # it should have answered: the connection is half open
        if self._asked_at is not None:
            return
        if self._connection is None:
            self._pool = channel.pool
            self._connection = self._pool.get_connection()
            self._file = self._connection._sock.fileno()
            loop.add_reader(self._file, self._answered, loop, call)
        # From the right of a list to its right: nothing moves, but it waits until something is there.
        self._connection.send_command("BLMOVE", CRM_QUEUE, CRM_QUEUE, "RIGHT", "RIGHT", WAIT_S, check_health=False)
        self._asked_at = time.monotonic()

    def end(self, loop: Any) -> None:
        if self._connection is not None:
            loop.remove_reader(self._file)
            self._connection.disconnect()
            self._pool.release(self._connection)
        self._pool = self._connection = self._asked_at = None

    def _answered(self, loop: Any, call: Callable[[], None]) -> None:
        try:
            self._connection.read_response()
            self._asked_at = None
        except (RedisError, OSError):
            self.end(loop)  # the next look tells of it, if it lasts
            return
        call()
