"""Kombu's transport for Redis, made to lose no task of a CRM's when a worker is killed.

Kombu takes a task out of its list (BRPOP) and then notes, in a second call, that it is not acknowledged yet. A worker
that dies in between takes the task with it. Wake-ups that are lost so are made anew by the sweep, but a CRM's task is
the only trace of its message, so of the CRM's queue a script takes and notes in one step.
"""

import time
from typing import Any, ClassVar
from weakref import ref

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

#: Where CRMs put their tasks: Celery's default queue.
CRM_QUEUE = "celery"
#: A script cannot wait for tasks, so it looks for them: so often where there was none, and so soon again where the
#: worker had no room for more, in seconds.
LOOK_EVERY_S, LOOK_AGAIN_S = 0.05, 0.005
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
    def take(self) -> bool:
        """Deliver what waits in the CRM's queue, as far as there is room. False if nothing waited."""
        taken = False
        while CRM_QUEUE in self.active_queues and self.qos.can_consume():
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
    def take(self) -> bool:
        return bool([channel for channel in list(self._channels) if channel.take()])

    def get(self, callback: Any, timeout: float | None = None) -> None:
        """Without an event loop: once before each waiting."""
        if not self.take():
            super().get(callback, timeout)


class Transport(redis.Transport):
    Channel = Channel
    #: The one that consumes in an event loop; those before it have lost their connections.
    _consuming: ClassVar[Any] = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        Transport._consuming = ref(self)
        loop.call_later(0, self._look, loop)

    def _look(self, loop: Any) -> None:
        if Transport._consuming is None or Transport._consuming() is not self:
            return
        pause_s = AFTER_TROUBLE_S
        try:
            pause_s = LOOK_AGAIN_S if self.cycle.take() else LOOK_EVERY_S
        except (RedisError, OSError) as error:
            log.warning("tasks_not_taken", problem=type(error).__name__, advice="the worker tries again")
        finally:
            loop.call_later(pause_s, self._look, loop)
