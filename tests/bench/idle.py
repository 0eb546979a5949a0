"""What the stack costs with nothing to do."""

from tests.bench.figures import Figure, at_most, told
from tests.bench.stage import API_KEY, Servers, empty_stage
from tests.bench.usage import Meter, postmaster

#: Starting is not idling.
WARM_UP_S = 5.0
STACK = ("worker", "beat", "web", "broker")
MOST_PERCENT = 2.0


def measure(servers: Servers, *, seconds: float, warm_up_s: float = WARM_UP_S) -> list[Figure]:
    """A worker, beat, the web server and the broker, one channel that is up, no message."""
    with empty_stage(servers) as stage:
        stage.sandbox.create_channel("default", api_key=API_KEY)
        with stage.processes("worker", "beat", "web", WASENDER_API_KEY=API_KEY) as pids:
            stage.pass_time("warming up", warm_up_s)
            meter = Meter(pids | {"broker": stage.broker.pid, "PostgreSQL": postmaster(stage.engine)})
            stage.pass_time("idling without messages", seconds)
            usage = meter.read()
    return [
        at_most("worker, beat, web, broker", usage.percent(*STACK), MOST_PERCENT, "% of a core"),
        *(told(name, usage.percent(name), "% of a core") for name in (*STACK, "PostgreSQL")),
    ]
