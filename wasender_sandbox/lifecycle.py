"""What happens to a channel's session: status changes, scans, mute spells, transient drops, bans."""

import hashlib

from wasender_sandbox.channels import Channel, read_status
from wasender_sandbox.errors import ControlError
from wasender_sandbox.switches import PENDING_MODES
from wasender_sandbox.ticks import Ticks
from wasender_sandbox.webhooks import Webhooks
from wasender_sandbox.world import World


class Lifecycle:
    """Changes session states, tells webhooks, and lets held messages go when the session is back."""

    def __init__(self, world: World, webhooks: Webhooks, ticks: Ticks) -> None:
        self._world = world
        self._webhooks = webhooks
        self._ticks = ticks

    def set_status(
        self, channel: Channel, word: str, *, quiet: bool = False, back_after_s: float | None = None
    ) -> None:
        """Change the true status. `quiet` sends no webhook; `back_after_s` reconnects after that many seconds.

        `banned` looks as the switch says; `drop` is connecting for `transient_drop_s`, then connected again.
        """
        switches = self._world.switches
        if word == "banned":
            word = switches.ban_looks_like
        elif word == "drop":
            word = "connecting"
            back_after_s = switches.transient_drop_s if back_after_s is None else back_after_s
        status = read_status(word)
        self._change(channel, status, "status_change", quiet=quiet)
        if back_after_s is not None:
            due = self._world.clock.now() + back_after_s
            self._world.schedule.at(due, self._come_back, channel, status)

    def scan(self, channel: Channel) -> None:
        """Someone scanned the QR code: the session is connected, with the same key and secret."""
        channel.says = None
        self._change(channel, "connected", "status_change")

    def restart(self, channel: Channel) -> None:
        """Someone restarted it from outside. A mute spell ends, unless switched, as if it had been unmuted."""
        switches = self._world.switches
        channel.restarts += 1
        if switches.restart_connecting_s:
            self.set_status(channel, "connecting", back_after_s=switches.restart_connecting_s)
        if channel.muted and switches.restart_unmutes:
            self.mute(channel, False)
        if not switches.restart_connecting_s:
            self._change(channel, "connected", "session_restarted", force=True)

    def mute(self, channel: Channel, on: bool, then: str | None = None) -> None:
        """Mute: says connected, accepts, never ticks. `then`: what becomes of these messages when it ends."""
        if then is not None and then not in PENDING_MODES:
            raise ControlError(f"then is one of {', '.join(PENDING_MODES)}, not {then!r}.")
        if then is not None:
            channel.muted_then = then
        was_muted, channel.muted = channel.muted, on
        if was_muted and not on:
            mode = channel.muted_then or self._world.switches.pending_when_muted
            channel.muted_then = None
            if channel.connected or mode != "later":
                self._ticks.release(channel, mode)

    def fresh_qr(self, channel: Channel) -> str:
        """A new raw QR text, also told by qrcode.updated."""
        channel.qr_count += 1
        seed = f"{channel.id}:{channel.qr_count}".encode()
        text = f"2@SANDBOX{hashlib.sha256(seed).hexdigest()},{hashlib.md5(seed, usedforsecurity=False).hexdigest()}"
        self._webhooks.emit(channel, "qrcode.updated", {"qr": text}, unit=None)
        return text

    def _come_back(self, channel: Channel, status: str) -> None:
        if channel.status == status and self._world.channels.get(channel.name) is channel:
            self._change(channel, "connected", "status_change")

    def _change(
        self, channel: Channel, status: str, event_type: str, *, quiet: bool = False, force: bool = False
    ) -> None:
        if channel.status == status and not force:
            return
        channel.status = status
        channel.record(event_type, self._world.gateway_now())
        if not quiet:
            self._tell(channel)
        if channel.connected and not channel.muted:
            self._ticks.release(channel, "later")

    def _tell(self, channel: Channel) -> None:
        data: dict[str, object] = {"status": channel.status}
        unit = None
        if self._world.switches.session_status_shape == "with_session_id":
            data["session_id"], unit = f"session-{channel.id}", "seconds"
        self._webhooks.emit(channel, "session.status", data, unit=unit)
