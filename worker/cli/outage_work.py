"""What `truetick outages` does: list outages, or tell of one. How one is told stands in `worker.cli.outage_page`."""

from rich.text import Text

from worker.channels import outage_audit
from worker.channels.outage_audit import AtRisk, OutageView
from worker.cli import display
from worker.cli.outage_page import how, show_outage, sum_up
from worker.cli.workplace import workplace
from worker.database import snapshot
from worker.domain.durations import lasting

#: From this width on, a list has room for what became of the messages at risk.
WIDE = 110


def list_them(*, channel: str | None, open_only: bool, limit: int, as_json: bool) -> None:
    with workplace() as parts, snapshot(parts.engine) as connection:
        found = outage_audit.list_outages(
            connection, now=parts.clock(), channel=channel, open_only=open_only, limit=limit
        )
    if as_json:
        display.print_json({"outages": [outage.as_json() for outage in found]})
    elif not found:
        which = " that is not over" if open_only else ""
        display.say(f"There is no outage{which}{f' on channel {channel}' if channel else ''}.")
    else:
        _show(found)
        if len(found) == limit:
            display.say(f"These are the newest {limit}; --limit shows more.")


def show(outage_id: int, *, as_json: bool) -> None:
    with workplace() as parts, snapshot(parts.engine) as connection:
        now = parts.clock()
        outage = outage_audit.get(connection, outage_id, now=now)
        messages = outage_audit.messages_at_risk(connection, outage_id)
    if as_json:
        display.print_json(outage.as_json() | {"messages": [message.as_json() for message in messages]})
    else:
        show_outage(outage, messages, now)


def _show(found: list[OutageView]) -> None:
    wide = display.console().width >= WIDE
    columns = [">id", "channel", "was", "began (UTC)", "lasted", ">noticed after", ">at risk"]
    rows: list[list[str | Text]] = [
        [
            str(outage.id),
            outage.channel,
            display.styled(outage.state, how(outage)),
            f"{outage.began_at:%Y-%m-%d %H:%M}",
            f"{lasting(outage.duration)}, open" if outage.open else lasting(outage.duration),
            lasting(outage.noticing),
            str(outage.at_risk.total),
            *([_became(outage.at_risk)] if wide else []),
        ]
        for outage in found
    ]
    display.table([*columns, *(["what became of them"] if wide else [])], rows, whole=["id", "began (UTC)", "lasted"])


def _became(risked: AtRisk) -> str:
    return ", ".join(sum_up(risked)) if risked.total else ""
