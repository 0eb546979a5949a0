"""What goes wrong when: a timeline of faults, drawn from a seed. Pure; `mischief` carries it out."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Draw = Callable[[random.Random], dict[str, Any]]

#: Words of WaSender for a session that a person has to mend, and for one that mends itself.
DOWN_WORDS = ("need_scan", "logged_out", "disconnected", "expired", "connecting")
BREAKS = ("reset", "close", "error", "html")
CUT_ANSWERS = ("truncated", "no_msg_id", "empty", "bad_json", "wrong_types")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of fault. Two of the same `resource` never overlap; what stands in braces is drawn.

    `{channel}`: any channel; `{told}`: one that has webhooks; `{worker}`: a worker process.
    """

    resource: str
    lasts_s: tuple[float, float]
    draw: Draw = field(default=lambda _: {})


def _often(what: str) -> Draw:
    return lambda rng: {what: round(rng.uniform(0.5, 1), 2)}


def _count(most: int, **choices: Sequence[object]) -> Draw:
    """How many requests are struck, and how."""
    return lambda rng: (
        {"count": rng.randint(1, most)} | {name: rng.choice(values) for name, values in choices.items()}
    )


def _word(rng: random.Random) -> dict[str, Any]:
    return {"word": rng.choice(DOWN_WORDS)}


def _minutes_off(rng: random.Random) -> dict[str, Any]:
    return {"skew_s": rng.choice([-1, 1]) * rng.randint(120, 1800)}


_PROCESSES_AND_SERVERS = {
    "worker_killed": Fault(resource="worker:{worker}", lasts_s=(0.2, 3)),
    "beat_killed": Fault(resource="beat", lasts_s=(0.5, 6)),
    "web_killed": Fault(resource="web", lasts_s=(0.5, 4)),
    "broker_flushed": Fault(resource="broker", lasts_s=(0, 0)),
    "broker_restarted": Fault(resource="broker", lasts_s=(0.2, 3)),
    "broker_frozen": Fault(resource="broker", lasts_s=(1, 8)),
    "database_restarted": Fault(resource="database", lasts_s=(0.2, 1.5)),
    "database_away": Fault(resource="database", lasts_s=(10, 10)),
}
_GATEWAY = {
    "gateway_down": Fault(
        resource="gateway", lasts_s=(2, 12), draw=lambda rng: {"how": rng.choice(["reset", "close"])}
    ),
    "gateway_slow": Fault(
        resource="gateway", lasts_s=(3, 10), draw=lambda rng: {"delay_s": round(rng.uniform(0.2, 1.5), 2)}
    ),
    "hangs_before": Fault(resource="faults:{channel}", lasts_s=(2, 6), draw=_count(3)),
    "hangs_after": Fault(resource="faults:{channel}", lasts_s=(2, 6), draw=_count(3)),
    "breaks_before": Fault(resource="faults:{channel}", lasts_s=(1, 5), draw=_count(6, how=BREAKS)),
    "breaks_after": Fault(resource="faults:{channel}", lasts_s=(1, 5), draw=_count(4, how=BREAKS)),
    "answers_cut": Fault(resource="faults:{channel}", lasts_s=(1, 5), draw=_count(4, how=CUT_ANSWERS)),
    "refuses_spuriously": Fault(resource="faults:{channel}", lasts_s=(1, 5), draw=_count(4)),
    "throttles": Fault(resource="faults:{channel}", lasts_s=(1, 5), draw=_count(3, retry_after=(1, 2, 3))),
    "clock_off": Fault(resource="clock", lasts_s=(10, 30), draw=_minutes_off),
}
_SESSIONS = {
    "session_down": Fault(
        resource="session:{channel}",
        lasts_s=(2, 15),
        draw=lambda rng: _word(rng) | {"quiet": rng.random() < 0.3},
    ),
    "session_flaps": Fault(
        resource="session:{channel}", lasts_s=(3, 8), draw=lambda rng: {"drops": rng.randint(3, 6)}
    ),
    "claims_to_be_up": Fault(resource="session:{channel}", lasts_s=(3, 12), draw=_word),
    "claims_to_be_down": Fault(resource="session:{channel}", lasts_s=(2, 8), draw=_word),
    "mute_then_later": Fault(resource="session:{channel}", lasts_s=(15, 30)),
    "mute_then_failed": Fault(resource="session:{channel}", lasts_s=(15, 30)),
    "mute_then_stuck": Fault(resource="session:{channel}", lasts_s=(15, 30)),
}
_WEBHOOKS = {
    "webhooks_lost": Fault(resource="webhooks:{told}", lasts_s=(4, 15), draw=_often("lost")),
    "webhooks_doubled": Fault(resource="webhooks:{told}", lasts_s=(4, 15), draw=_often("doubled")),
    "webhooks_reordered": Fault(resource="webhooks:{told}", lasts_s=(4, 15), draw=_often("reordered")),
    "webhooks_early": Fault(resource="webhooks:{told}", lasts_s=(4, 15), draw=_often("early")),
    "webhooks_delayed": Fault(
        resource="webhooks:{told}", lasts_s=(4, 15), draw=lambda rng: {"delay": round(rng.uniform(1, 6), 2)}
    ),
    "webhooks_hostile": Fault(resource="hostile", lasts_s=(1, 4)),
}
FAULTS: dict[str, Fault] = _PROCESSES_AND_SERVERS | _GATEWAY | _SESSIONS | _WEBHOOKS


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One fault at its time, in seconds from the beginning."""

    number: int
    kind: str
    at_s: float
    for_s: float
    resource: str
    details: Mapping[str, Any]

    @property
    def target(self) -> str:
        """The channel or worker that it hits; empty where it hits all."""
        return self.resource.partition(":")[2]

    def __str__(self) -> str:
        hit = f" of {self.target}" if self.target else ""
        details = "".join(f" {name}={value}" for name, value in self.details.items())
        return f"{self.at_s:6.1f} s  {self.kind}{hit}, {self.for_s:.1f} s long{details}"


def draw_plan(
    seed: int,
    *,
    faults: int,
    span_s: float,
    names: Mapping[str, Sequence[str]],
    longest_s: float = 60.0,
    kinds: Sequence[str] = tuple(FAULTS),
) -> list[Strike]:
    """`faults` strikes spread over `span_s`, in the order of their times. The kinds take turns, in random order.

    `names` gives the values for the braces of resources.
    """
    rng = random.Random(seed)
    busy: dict[str, list[tuple[float, float]]] = {}
    strikes = []
    for number, kind in enumerate(_turns(rng, kinds, faults)):
        spec = FAULTS[kind]
        resource = spec.resource.format(**{name: rng.choice(list(values)) for name, values in names.items()})
        for_s = round(min(rng.uniform(*spec.lasts_s), longest_s), 2)
        at_s = _free_time(rng, busy.setdefault(resource, []), for_s, span_s)
        strikes.append(
            Strike(number=number, kind=kind, at_s=at_s, for_s=for_s, resource=resource, details=spec.draw(rng))
        )
    return sorted(strikes, key=lambda strike: (strike.at_s, strike.number))


def _turns(rng: random.Random, kinds: Sequence[str], faults: int) -> list[str]:
    turns: list[str] = []
    while len(turns) < faults:
        turn = list(kinds)
        rng.shuffle(turn)
        turns += turn
    return turns[:faults]


#: Between two faults of one resource, so that each is seen by itself.
PAUSE_S = 1.0


def _free_time(rng: random.Random, busy: list[tuple[float, float]], for_s: float, span_s: float) -> float:
    """A time at which this resource is left alone; behind the others where the span has no room."""
    for _ in range(200):
        at_s = round(rng.uniform(0, max(span_s - for_s, 0)), 2)
        if all(at_s >= end + PAUSE_S or at_s + for_s + PAUSE_S <= begin for begin, end in busy):
            break
    else:
        at_s = round(max(end for _, end in busy) + PAUSE_S, 2)
    busy.append((at_s, at_s + for_s))
    return at_s
