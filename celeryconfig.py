"""Celery's configuration, derived from Truetick's settings. `celery -A worker …` and every producer read it.

The values of the transport are a producer's: publishing fails within about a second when the broker is away, and the
message, which is in the database by then, is found by the sweep. Workers replace them (see `worker.celery_app`).
"""

from datetime import timedelta

from celery.schedules import crontab
from kombu import Queue

from worker.settings import settings as _settings

_s = _settings()

broker_url = _s.broker_url
broker_connection_timeout = 1
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_pool_limit = 10
broker_transport_options = {
    "socket_connect_timeout": 0.5,
    "socket_timeout": 1,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}
task_publish_retry = False

accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
event_serializer = "json"
enable_utc = True
timezone = "UTC"

# The database is the truth, so tasks are wake-ups: nothing is kept of their results, and a lost one is made anew.
task_ignore_result = True
task_acks_late = False
worker_prefetch_multiplier = 1
worker_pool = "threads"
worker_consumer = "worker.consumer:LastingConsumer"
# Runs that await the answers of a gateway that hangs keep a thread each, for half a minute at the most: a new one
# every five seconds. The rest is for everything else.
worker_concurrency = 16
worker_cancel_long_running_tasks_on_connection_loss = False
worker_disable_rate_limits = True
worker_hijack_root_logger = False
worker_redirect_stdouts = False

# Flower shows what the workers do. Producers send no events: theirs would carry unmasked arguments.
worker_send_task_events = True
task_send_sent_event = False

# A CRM knows only the broker's address, so its task comes on Celery's default queue.
task_default_queue = "celery"
task_queues = [Queue("celery"), Queue("truetick.drain"), Queue("truetick.upkeep")]
task_routes = {
    "truetick.send_message": {"queue": "celery"},
    "truetick.drain": {"queue": "truetick.drain"},
    "truetick.*": {"queue": "truetick.upkeep"},
}

# Intervals and times of day need no memory of former runs, so beat keeps no file. (An interval of a week would begin
# anew whenever beat is started.)
beat_scheduler = "celery.beat:Scheduler"
beat_enable_remote_control = True
beat_schedule = {
    name: {
        "task": f"truetick.{name}",
        "schedule": timedelta(seconds=every_s),
        # A tick that nobody took in time is worthless: the next one does the same work.
        "options": {"expires": max(1.0, every_s)},
    }
    for name, every_s in {
        "check_channels": _s.check_interval_s,
        "reconcile_messages": _s.reconcile_interval_s,
        "resolve_doubts": _s.reconcile_interval_s,
        "sweep": _s.sweep_interval_s,
    }.items()
}
beat_schedule |= {
    name: {
        "task": f"truetick.{name}",
        "schedule": at,
        # Missed, they do no harm; but a worker that comes back within hours still does them.
        "options": {"expires": 6 * 3600},
    }
    for name, at in {
        "daily_health_check": crontab(hour=6, minute=0),
        "weekly_maintenance": crontab(day_of_week="sunday", hour=3, minute=17),
    }.items()
}
