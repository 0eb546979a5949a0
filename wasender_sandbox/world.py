"""All state of one sandbox in one place. Nothing here answers requests or emits events; one event loop owns it."""

import random
import secrets
from dataclasses import dataclass

from wasender_sandbox.attempts import Attempts
from wasender_sandbox.channels import Channel, check_name
from wasender_sandbox.clock import Clock
from wasender_sandbox.errors import ControlError
from wasender_sandbox.faults import Faults
from wasender_sandbox.ledger import Entry, Ledger
from wasender_sandbox.recipients import RecipientRules
from wasender_sandbox.schedule import Schedule
from wasender_sandbox.spans import NO_TIME, Span
from wasender_sandbox.switches import Switches
from wasender_sandbox.throttle import DailyCap, Throttle

DEFAULT_PAT = "1|sandbox-personal-access-token"


@dataclass(slots=True)
class WebhookTrouble:
    """What happens to events on their way: chances from 0 to 1, `delay` in seconds."""

    lost: float = 0.0
    doubled: float = 0.0
    reordered: float = 0.0
    early: float = 0.0
    delay: Span = NO_TIME


class World:
    """Channels, ledger, attempts, faults, switches and the clock of one sandbox."""

    def __init__(self, *, seed: int = 0, pat: str = DEFAULT_PAT) -> None:
        self.seed = seed
        self.pat = pat
        #: Scheme, host and port under which this server is reached; set when it listens.
        self.origin = "http://127.0.0.1"
        self.clock = Clock()
        self.schedule = Schedule(self.clock)
        self.rng = random.Random(seed)  # noqa: S311 - reproducible mischief, not secrets
        self._blank()

    def _blank(self) -> None:
        self.rng.seed(self.seed)
        self.switches = Switches()
        self.rules = RecipientRules()
        self.faults = Faults(self.rng)
        self.ledger = Ledger()
        self.attempts = Attempts()
        self.channels: dict[str, Channel] = {}
        self.by_key: dict[str, Channel] = {}
        self.latency_before = NO_TIME
        self.latency_after = NO_TIME
        self.trouble = WebhookTrouble()
        self.channel_trouble: dict[str, WebhookTrouble] = {}
        self.account_throttle = Throttle(None)
        self.utility: dict[tuple[str, str], tuple[Throttle, DailyCap]] = {}
        self.media: dict[str, float] = {}
        self.seen: dict[tuple[str, str, str], Entry] = {}
        self._next_channel_id = 501

    def reset(self) -> None:
        """Back to the state after the start, without channels."""
        self.schedule.clear()
        self._blank()

    def gateway_now(self) -> float:
        """Unix seconds on the gateway's own clock."""
        return self.clock.now() + self.switches.clock_skew_s

    def add_channel(self, name: str, api_key: str | None = None, phone_number: str | None = None) -> Channel:
        """A new channel, connected and without limits; settings are the caller's to change."""
        check_name(name)
        if name in self.channels:
            raise ControlError(f"There is already a channel named {name!r}. Delete it first or use another name.")
        api_key = api_key or secrets.token_hex(32)
        if api_key in self.by_key:
            raise ControlError(f"Channel {self.by_key[api_key].name!r} already has this API key.")
        channel = Channel(
            id=self._next_channel_id,
            name=name,
            api_key=api_key,
            phone_number=phone_number or f"+1555{self._next_channel_id:07d}",
            created_at=self.gateway_now(),
            webhook_secret=secrets.token_hex(16),
        )
        self._next_channel_id += 1
        self.channels[name] = channel
        self.by_key[api_key] = channel
        return channel

    def remove_channel(self, channel: Channel) -> None:
        """Its key dies with it; its messages stay in the ledger."""
        self.channels.pop(channel.name, None)
        self.by_key = {key: kept for key, kept in self.by_key.items() if kept is not channel}

    def change_key(self, channel: Channel, api_key: str) -> None:
        """Give the channel another key; the old one lives on for `regenerate_key_grace_s`."""
        if self.by_key.get(api_key, channel) is not channel:
            raise ControlError(f"Channel {self.by_key[api_key].name!r} already has this API key.")
        old_key, channel.api_key = channel.api_key, api_key
        self.by_key[api_key] = channel
        grace_s = self.switches.regenerate_key_grace_s
        if old_key != api_key:
            if grace_s:
                self.schedule.at(self.clock.now() + grace_s, self._forget_key, old_key)
            else:
                self._forget_key(old_key)

    def _forget_key(self, api_key: str) -> None:
        self.by_key.pop(api_key, None)

    def channel(self, name: str) -> Channel:
        """The channel of that name; ControlError lists the known ones."""
        found = self.channels.get(name)
        if found is None:
            known = ", ".join(self.channels) or "none yet"
            raise ControlError(f"There is no channel named {name!r}. Channels: {known}.")
        return found

    def channel_by_id(self, channel_id: int) -> Channel | None:
        return next((channel for channel in self.channels.values() if channel.id == channel_id), None)

    def throttle_for(self, channel: Channel) -> Throttle:
        """The counter that sends of this channel use up: its own, or the account's."""
        if self.switches.rate_scope == "session":
            return channel.throttle
        if self.account_throttle.limit != channel.limit:
            self.account_throttle = Throttle(channel.limit, channel.limit_mode)
        return self.account_throttle

    def trouble_for(self, channel: Channel) -> WebhookTrouble:
        return self.channel_trouble.get(channel.name, self.trouble)

    def latency_for(self, channel: Channel) -> tuple[Span, Span]:
        """Latency before and after the work of a send."""
        before = channel.latency_before if channel.latency_before is not None else self.latency_before
        after = channel.latency_after if channel.latency_after is not None else self.latency_after
        return before, after
