"""What the demonstration looks like: a live board on a terminal, plain lines where there is none."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.demo.contacts import Contact
from worker.demo.scene import Scene, explain
from worker.demo.verdict import Verdict
from worker.domain.channel_state import ChannelState

STYLES = {
    "pending": "yellow",
    "sent": "cyan",
    "delivered": "green",
    "read": "bold green",
    "failed": "red",
}
#: Lines of the board beside the rows of the table.
FRAME_LINES = 11


class Board:
    """Use as a context manager: `show` redraws, `say` leaves a line that stays."""

    def __init__(self, console: Console, contacts: dict[str, Contact]) -> None:
        self._console = console
        self._contacts = contacts
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def act(self, title: str) -> None:
        """What happens now."""
        self.say(title)

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=not self._console.is_terminal)

    def show(self, scene: Scene) -> None:
        """Redraw, or without a terminal say what has changed."""
        if self._live:
            self._live.update(self._draw(scene), refresh=True)
            return
        line = f"  channel {_channel(scene).plain}; {_counts(scene).plain}"
        if line != self._last:
            self._last = line
            self.say(line)

    def finish(self, scene: Scene) -> None:
        """Leave the whole table behind."""
        if self._live:
            self._live.stop()
            self._live = None
        self._console.print(_table(self._contacts.values(), scene))
        self._console.print(_refusals(self._contacts.values(), scene))

    def _draw(self, scene: Scene) -> RenderableType:
        room = max(self._console.height - FRAME_LINES, 3)
        contacts = list(self._contacts.values())
        first = _first_row(contacts, scene, room)
        shown = contacts[first : first + room]
        hidden = f"{first} rows above, {len(contacts) - first - len(shown)} below"
        head = Group(_channel(scene), Text(scene.advice or "", style="yellow"), _counts(scene))
        return Group(Panel(head, title="channel default"), _table(shown, scene), Text(hidden, style="dim"))


def _first_row(contacts: list[Contact], scene: Scene, room: int) -> int:
    """Follow the work: a few rows above the first message that is still pending."""
    pending = [
        place
        for place, contact in enumerate(contacts)
        if contact.ref in scene.messages and scene.messages[contact.ref].status == "pending"
    ]
    begun = bool(scene.messages)
    following = pending[0] if pending else len(contacts) * begun
    return max(0, min(following - room // 2, len(contacts) - room))


def _channel(scene: Scene) -> Text:
    if scene.channel is None:
        return Text("not checked yet", style="dim")
    style = "bold green" if scene.channel is ChannelState.UP else "bold red"
    reason = f" ({scene.channel_reason})" if scene.channel_reason else ""
    return Text(f"{scene.channel}{reason}", style=style)


def _counts(scene: Scene) -> Text:
    parts = [
        Text(f"{scene.counts[status]} {status}", style=style if scene.counts[status] else "dim")
        for status, style in STYLES.items()
    ]
    return Text("  ").join(parts)


def _table(contacts: Iterable[Contact], scene: Scene) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, header_style="bold")
    table.add_column("CRM", width=6, no_wrap=True)
    table.add_column("As the CRM has it", width=20, no_wrap=True, overflow="ellipsis")
    table.add_column("Recipient", width=14, no_wrap=True, overflow="ellipsis")
    table.add_column("Status", width=9, no_wrap=True)
    table.add_column("Why", ratio=1, no_wrap=True, overflow="ellipsis")
    for contact in contacts:
        message = scene.messages.get(contact.ref)
        if message is None:
            table.add_row(contact.ref, _spelled(contact), "", Text("-", style="dim"), "")
            continue
        table.add_row(
            contact.ref,
            _spelled(contact),
            Text(message.recipient or "-"),
            Text(message.status, style=STYLES.get(message.status, "")),
            Text(explain(message), style="dim" if message.status == "pending" else ""),
        )
    return table


def _spelled(contact: Contact) -> Text:
    return Text(contact.phone) if contact.phone else Text("(empty)", style="dim")


def _refusals(contacts: Iterable[Contact], scene: Scene) -> Table:
    """What the CRM is told of the messages that will never go out."""
    table = Table(box=None, pad_edge=False, show_header=False, title="What the CRM is told", title_justify="left")
    table.add_column(width=6, no_wrap=True)
    table.add_column(overflow="fold")
    for contact in contacts:
        message = scene.messages.get(contact.ref)
        if message and message.error_message:
            table.add_row(contact.ref, Text(message.error_message))
    return table


def verdict_panel(found: Verdict, expected: int) -> RenderableType:
    """What Truetick says against what WhatsApp got."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    good = found.proven == expected
    table.add_row(Text(str(found.proven), style="bold green" if good else "bold red"), "sent, and WhatsApp has them")
    rows = (
        (found.false_sent, 'said to be sent, and WhatsApp does not have them (false "sent")'),
        (found.duplicates, "sent twice"),
        (found.out_of_order, "out of order"),
        (found.over_limit, "over the rate limit"),
        (found.missing, "should have arrived and did not"),
    )
    for count, what in rows:
        table.add_row(Text(str(count), style="bold red" if count else "green"), what)
    title = "Every status is true" if found.clean and good else "NOT proven"
    return Panel(table, title=title, border_style="green" if found.clean and good else "red", expand=False)
