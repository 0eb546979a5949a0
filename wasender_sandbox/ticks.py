"""The life of an accepted message: handed to WhatsApp (code 2), delivered (3), read (4), or failed (0).

A session that is down or mute holds its messages back; switches say whether they go later, fail, or stay stuck.
"""

from wasender_sandbox import events
from wasender_sandbox.channels import Channel
from wasender_sandbox.ledger import DELIVERED, ERROR, PENDING, READ, SENT, Entry
from wasender_sandbox.recipients import Recipient, digits_of
from wasender_sandbox.webhooks import Webhooks
from wasender_sandbox.world import World

INVALID_NUMBER = "invalid WhatsApp number"
MEDIA_UNREACHABLE = "Failed to fetch media from the given URL"
SESSION_LOST = "WhatsApp session is not connected"


class Ticks:
    """Moves messages on when their time comes."""

    def __init__(self, world: World, webhooks: Webhooks) -> None:
        self._world = world
        self._webhooks = webhooks

    def follow(self, entry: Entry, recipient: Recipient, *, failure: str | None = None, early: bool = False) -> None:
        """Start the life of an accepted message.

        `failure` makes it fail where it would have been ticked; `early` ticks it before the sender has its answer.
        """
        world = self._world
        if self._is_silent(recipient):
            return
        due = world.clock.now() + world.switches.ack_after_s.draw(world.rng)
        if failure:
            world.schedule.at(due, self.fail, entry, failure)
        elif early:
            self._reach(entry, SENT)
        else:
            world.schedule.at(due, self._reach, entry, SENT)

    def release(self, channel: Channel, mode: str) -> None:
        """The session is back: send what was held (`later`), fail it (`failed`) or leave it (`stuck`)."""
        world, held = self._world, list(channel.held)
        channel.held.clear()
        due = world.clock.now()
        for entry, code in held:
            if code > SENT or mode == "later":
                world.schedule.at(due + world.switches.ack_after_s.draw(world.rng), self._reach, entry, code)
            elif mode == "failed":
                self.fail(entry, SESSION_LOST)

    def fail(self, entry: Entry, reason: str) -> None:
        """The message will not go out: code 0, `failed` in the log, message.sent without any id."""
        if entry.status != PENDING:
            return
        world = self._world
        entry.status, entry.failed_reason = ERROR, reason
        entry.updated_at = world.clock.now()
        channel = world.channels.get(entry.channel)
        if channel is None:
            return
        if world.switches.message_sent_on_failure:
            self._webhooks.emit(channel, "message.sent", events.failed_data(entry), unit="seconds", lane=entry.index)
        self._emit_update(channel, entry, ERROR)

    def _is_silent(self, recipient: Recipient) -> bool:
        if recipient.kind == "lid":
            return self._world.switches.lid_recipient == "never_ticks"
        return recipient.digits in self._world.rules.never_ticked

    def _reach(self, entry: Entry, code: int) -> None:
        world = self._world
        channel = world.channels.get(entry.channel)
        if channel is None or entry.status >= code or entry.status == ERROR:
            return
        if channel.muted:
            channel.held.append((entry, code))
        elif channel.connected:
            self._apply(channel, entry, code)
        elif code > SENT or world.switches.pending_when_down == "later":
            channel.held.append((entry, code))
        elif world.switches.pending_when_down == "failed":
            self.fail(entry, SESSION_LOST)

    def _apply(self, channel: Channel, entry: Entry, code: int) -> None:
        world, switches = self._world, self._world.switches
        now = world.clock.now()
        entry.status, entry.updated_at = code, now
        if code == SENT:
            entry.acked_at, entry.ack_index = now, world.ledger.acked
            world.ledger.acked += 1
            channel.acked += 1
            self._emit_sent(channel, entry)
            silent = entry.recipient.endswith("@g.us") or digits_of(entry.recipient) in world.rules.never_delivered
            if not silent and _happens(world, switches.delivered_fraction):
                due = entry.received_at + switches.delivered_after_s.draw(world.rng)
                world.schedule.at(max(due, now), self._reach, entry, DELIVERED)
        elif code == DELIVERED:
            entry.delivered_at = now
            if _happens(world, switches.read_fraction):
                due = entry.received_at + switches.read_after_s.draw(world.rng)
                world.schedule.at(max(due, now), self._reach, entry, READ)
        else:
            entry.read_at = now
        self._emit_update(channel, entry, code)

    def _emit_sent(self, channel: Channel, entry: Entry) -> None:
        switches = self._world.switches
        if switches.send_events in {"both", "upsert"} and channel.wants("messages.upsert"):
            data = events.upsert_data(switches, entry, self._world.gateway_now())
            self._webhooks.emit(channel, "messages.upsert", data, unit="seconds", lane=entry.index)
        if switches.send_events in {"both", "sent"} and channel.wants("message.sent"):
            data = events.sent_data(switches, entry)
            self._webhooks.emit(channel, "message.sent", data, unit="seconds", lane=entry.index)

    def _emit_update(self, channel: Channel, entry: Entry, code: int) -> None:
        switches = self._world.switches
        if not channel.wants("messages.update"):
            return
        fired = str(code) in switches.update_statuses.replace(" ", "").split(",")
        if fired and not _happens(self._world, switches.update_skip):
            data = events.update_data(switches, entry, code)
            self._webhooks.emit(channel, "messages.update", data, unit="ms", lane=entry.index)


def _happens(world: World, chance: float) -> bool:
    """True in `chance` of the cases; certain and impossible cases draw nothing."""
    return chance >= 1 or (chance > 0 and world.rng.random() < chance)
