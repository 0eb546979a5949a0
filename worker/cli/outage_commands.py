"""`truetick outages`: what can be asked for. What it does stands in `worker.cli.outage_work`."""

from typing import Annotated

import typer

from worker.cli.options import LAST_ID, AsJson


def register(app: typer.Typer) -> None:
    app.command()(outages)


def outages(
    outage_id: Annotated[
        int | None,
        typer.Argument(metavar="ID", min=1, max=LAST_ID, help="The outage's number: tell its whole story."),
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Only those of this channel.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the times in which channels were down or mute, the newest first; or tell the whole story of one: when it
    began and how we know, how it was noticed, how it ended, and what became of each message at risk.

    Example: `truetick outages --open`

    Example: `truetick outages 7`
    """
    from worker.cli import outage_work

    if outage_id is None:
        outage_work.list_them(channel=channel, open_only=open_only, limit=limit, as_json=as_json)
        return
    if channel is not None or open_only:
        raise typer.BadParameter("--channel and --open choose from the list; leave them out to see one outage.")
    outage_work.show(outage_id, as_json=as_json)
