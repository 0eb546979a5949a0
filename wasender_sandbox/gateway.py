"""The parts of one running sandbox, put together."""

from dataclasses import dataclass

from wasender_sandbox.lifecycle import Lifecycle
from wasender_sandbox.ticks import Ticks
from wasender_sandbox.webhooks import Webhooks
from wasender_sandbox.world import DEFAULT_PAT, World


@dataclass(frozen=True, slots=True)
class Gateway:
    """State and the three things that change it on their own."""

    world: World
    webhooks: Webhooks
    ticks: Ticks
    lifecycle: Lifecycle

    def reset(self) -> None:
        """Forget everything: channels, messages, faults, switches, events under way."""
        self.webhooks.reset()
        self.world.reset()


def build_gateway(*, seed: int = 0, pat: str = DEFAULT_PAT) -> Gateway:
    world = World(seed=seed, pat=pat)
    webhooks = Webhooks(world)
    ticks = Ticks(world, webhooks)
    return Gateway(world, webhooks, ticks, Lifecycle(world, webhooks, ticks))
