"""What `truetick opt-outs` does. On the operator's own terminal numbers stand in full."""

from rich.text import Text

from worker import opt_out
from worker.cli import display
from worker.cli.workplace import workplace
from worker.database import snapshot
from worker.domain.errors import NotFound
from worker.domain.phone import normalise_recipient
from worker.outbox import suppressions
from worker.outbox.events import Source
from worker.parts import Parts


def list_them(*, lifted: bool, limit: int, as_json: bool) -> None:
    with workplace() as parts, snapshot(parts.engine) as connection:
        found = suppressions.list_all(connection, lifted=lifted, limit=limit)
        now = parts.clock()
    if as_json:
        display.print_json({"opt_outs": [one.as_json() for one in found]})
        return
    if not found:
        display.say("Nobody has opted out.")
        return
    rows: list[list[str | Text]] = [
        [
            one.recipient,
            f"{one.since:%Y-%m-%d %H:%M}",
            f'wrote "{one.word}"' if one.word else "a person",
            one.channel or "",
            *([display.ago(one.lifted_at, now) if one.lifted_at else ""] if lifted else []),
        ]
        for one in found
    ]
    columns = ["number", "since (UTC)", "by", "channel", *(["lifted"] if lifted else [])]
    display.table(columns, rows, whole=["number", "since (UTC)"])
    if len(found) == limit:
        display.say(f"These are the latest {limit}; list --limit shows more.")


def add(number: str, *, as_json: bool) -> None:
    with workplace() as parts:
        recipient = _recipient(parts, number)
        failed = opt_out.stop(parts, recipient, at=parts.clock(), source=Source.OPERATOR)
        with snapshot(parts.engine) as connection:
            since = suppressions.since(connection, recipient)
    if as_json:
        told = since.isoformat().replace("+00:00", "Z") if since else None
        display.print_json({"recipient": recipient, "since": told, "failed": failed})
        return
    waited = {0: "Nothing waited for it", 1: "One message that waited for it has failed"}
    display.say(f"{recipient} gets no more messages. {waited.get(failed, f'{failed} messages have failed')}.")
    display.say("What is on its way to WaSender at this moment still goes out.")


def remove(number: str, *, as_json: bool) -> None:
    with workplace() as parts:
        recipient = _recipient(parts, number)
        if not opt_out.start(parts, recipient, at=parts.clock()):
            raise NotFound(f"{recipient} has not opted out: it gets messages as it is.", code="not_opted_out")
    if as_json:
        display.print_json({"recipient": recipient, "since": None})
    else:
        display.say(f"{recipient} gets messages again. What failed meanwhile is not sent by itself.")


def _recipient(parts: Parts, number: str) -> str:
    """As messages have it. A LID, of which no number was known, stands for itself."""
    lid = number.strip().lower()
    if lid.endswith("@lid") and lid.removesuffix("@lid").isascii() and lid.removesuffix("@lid").isdecimal():
        return lid
    return normalise_recipient(number, parts.settings.default_region).address
