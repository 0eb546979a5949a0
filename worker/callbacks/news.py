"""What is logged of an endpoint: that trouble began, that it is over, and what was given up."""

from dataclasses import dataclass

import structlog

from worker.callbacks.breaker import Standing

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class News:
    """What a turn has learnt about the endpoint, to be logged once it is committed."""

    before: Standing
    standing: Standing
    parked: int

    def log(self, name: str) -> None:
        """Say what is news, and nothing while all stays as it is."""
        if self.standing.is_in_trouble and not self.before.is_in_trouble:
            log.warning(
                "endpoint_in_trouble",
                endpoint=name,
                problem=self.standing.problem,
                advice="its callbacks wait; it is tried every minute at least, each callback for a day",
            )
        elif self.before.is_in_trouble and not self.standing.is_in_trouble:
            log.info("endpoint_recovered", endpoint=name)
        if self.parked:
            log_parked(name, self.parked, self.standing.problem)


def log_parked(name: str, count: int, problem: str | None) -> None:
    """People should know: nobody tries these any more."""
    log.error(
        "callbacks_parked",
        endpoint=name,
        count=count,
        problem=problem,
        advice=f"when it takes callbacks again, have them told: truetick callbacks replay {name}",
    )
