"""The story of the demonstration: the session is gone, the CRM goes on sending, nothing is lost or made up."""

import threading
import time
from collections.abc import Callable

from rich.console import Console
from sqlalchemy import Engine

from wasender_sandbox.control import Sandbox
from worker.demo.board import Board, verdict_panel
from worker.demo.contacts import read_contacts, unique
from worker.demo.crm import enqueue
from worker.demo.scene import Scene, look
from worker.demo.verdict import verdict
from worker.domain.channel_state import ChannelState
from worker.domain.phone import normalise_recipient
from worker.settings import Settings

CHANNEL = "default"
LOOK_EVERY_S = 0.25
#: How long the audience sees the queue wait.
WATCH_S = 3.0


class Interrupted(Exception):
    """The stack is being stopped."""


class Story:
    """Acts in order; each waits for what it announces, with a deadline."""

    def __init__(
        self, settings: Settings, engine: Engine, sandbox: Sandbox, console: Console, stop: threading.Event
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._sandbox = sandbox
        self._console = console
        self._stop = stop
        self._rows = read_contacts()
        self._contacts = unique(self._rows)
        self._board = Board(console, self._contacts)

    def tell(self) -> bool:
        """True when every status was true and everything arrived that could. Raises Interrupted."""
        with self._board:
            self._lose_the_session()
            self._enqueue()
            self._scan()
            self._until(lambda scene: scene.settled(self._contacts), within_s=90)
            self._until(lambda scene: scene.counts["sent"] <= 1, within_s=3)
            return self._compare()

    def _lose_the_session(self) -> None:
        self._board.act("1. The WhatsApp session is gone: WaSender wants a new scan of its QR code.")
        landline = [contact.phone for contact in self._contacts.values() if contact.outcome == "not_on_whatsapp"]
        region = self._settings.default_region
        self._sandbox.recipients(not_on_whatsapp=[normalise_recipient(phone, region).address for phone in landline])
        self._sandbox.switch("read_fraction", 0.5)
        self._sandbox.set_status(CHANNEL, "need_scan")
        self._until(lambda scene: scene.channel is ChannelState.DOWN, within_s=20)

    def _enqueue(self) -> None:
        self._board.act(f"2. The CRM knows nothing of it and enqueues {len(self._rows)} messages, one of them twice.")
        enqueue(self._rows, self._settings.broker_url)
        wrong = sum(contact.outcome == "invalid" for contact in self._contacts.values())
        scene = self._until(
            lambda scene: len(scene.messages) == len(self._contacts) and scene.counts["failed"] == wrong, within_s=30
        )
        self._board.say(
            f"   {scene.counts['pending']} wait, and say why: channel {scene.channel} ({scene.channel_reason}). "
            f"{scene.counts['failed']} numbers have failed at once, with the reason. {scene.advice or ''}"
        )
        self._until(lambda _scene: False, within_s=WATCH_S)

    def _scan(self) -> None:
        pace = self._settings.pace
        self._board.act(
            "3. Somebody scans the QR code; the queue drains at the pace of the channel, "
            f"{pace.messages} messages in {pace.seconds:g} s."
        )
        self._sandbox.scan(CHANNEL)
        self._until(lambda scene: scene.channel is ChannelState.UP, within_s=20)

    def _compare(self) -> bool:
        scene = look(self._engine)
        told = scene.told(self._contacts)  # before the ledger, which may only know more
        found = verdict(told, self._sandbox.ledger(), self._sandbox.requests())
        self._board.finish(scene)
        expected = sum(contact.should_arrive for contact in self._contacts.values())
        self._console.print(verdict_panel(found, expected))
        return found.clean and found.proven == expected and scene.settled(self._contacts)

    def _until(self, reached: Callable[[Scene], bool], *, within_s: float) -> Scene:
        """Show the board until it is so, or the time is over; the verdict judges what came of it."""
        deadline = time.monotonic() + within_s
        while True:
            if self._stop.is_set():
                raise Interrupted
            scene = look(self._engine)
            self._board.show(scene)
            if reached(scene) or time.monotonic() > deadline:
                return scene
            self._stop.wait(LOOK_EVERY_S)
