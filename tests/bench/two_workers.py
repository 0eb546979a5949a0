"""Two worker processes and a gateway that takes its time: is the limit never broken, and is it used up?"""

from dataclasses import dataclass

from tests.bench.figures import Figure, at_least, at_most, told
from tests.bench.pending import park
from tests.bench.stage import Servers, Stage, empty_stage
from worker.domain.channel_state import ChannelState
from worker.domain.pace import Pace

#: Before the sandbox takes a POST, in seconds.
LATENCY = "0.05-0.3"
LEAST_SHARE = 98.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """Channels of one kind. `counts` is how the sandbox counts what is too much."""

    name: str
    pace: Pace
    counts: str
    channels: int


LOADS = (
    Load(name="256 a minute, in fixed minutes", pace=Pace(256, 60), counts="fixed", channels=2),
    Load(name="256 a minute, in any minute", pace=Pace(256, 60), counts="sliding", channels=2),
    Load(name="1 per 5 s, strictly apart", pace=Pace(1, 5), counts="spacing", channels=10),
)


def measure(servers: Servers, *, seconds: float, warm_up_s: float = 25.0) -> list[Figure]:
    """All channels have more to send than there is time for. While they warm up, their windows open."""
    with empty_stage(servers) as stage:
        names = {load: _open(stage, load, seconds + warm_up_s) for load in LOADS}
        stage.sandbox.latency(before=LATENCY)
        with stage.processes("worker", "second worker", "beat"):
            stage.pass_time("warming up", warm_up_s)
            began = float(stage.sandbox.state()["now"])
            stage.pass_time("two workers sending", seconds)
            ended = float(stage.sandbox.state()["now"])
        shares = {load: _share(stage, load, names[load], began, ended) for load in LOADS}
        most = max(request.in_flight for request in stage.sandbox.requests())
        return [
            at_most("refused as too early or too many", stage.sandbox.rate_violations(), 0, "POSTs", digits=0),
            *(at_least(load.name, shares[load], LEAST_SHARE, "% of the limit", digits=1) for load in LOADS),
            told("most POSTs of one channel at once", most, "POSTs", digits=0),
        ]


def _open(stage: Stage, load: Load, seconds: float) -> list[str]:
    prefix = f"{load.counts}-{load.pace.messages}"
    ids = stage.open_channels(
        load.channels,
        load.pace,
        state=ChannelState.UP,
        prefix=prefix,
        limit=str(load.pace),
        limit_mode=load.counts,
    )
    each = int(seconds / load.pace.interval_s * 1.2) + 5
    with stage.progress() as progress:
        park(stage.engine, ids, load.channels * each, progress)
    return [f"{prefix}-{number}" for number in range(load.channels)]


def _share(stage: Stage, load: Load, names: list[str], began: float, ended: float) -> float:
    """How much of the limit the channels used, in percent: by the mean gap of the POSTs within the measured time."""
    gaps = []
    for name in names:
        arrived = sorted(request.arrived_at for request in stage.sandbox.requests(channel=name))
        within = [at for at in arrived if began <= at <= ended]
        if len(within) < 2:
            return 0.0
        gaps.append((within[-1] - within[0]) / (len(within) - 1))
    return 100 * load.pace.seconds / load.pace.messages / (sum(gaps) / len(gaps))
