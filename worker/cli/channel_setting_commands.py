"""`truetick channels show`, `set-pool`, `set-pace`, `set-first-contacts` and `remove`: what can be asked for."""

from typing import Annotated, Any

import typer

from worker.cli.options import MOST_A_DAY, AsJson, ChannelName, DailyCap

Pool = Annotated[str, typer.Argument(help="The pool's name; - lets the channel stand alone.", show_default=False)]
Pace = Annotated[str, typer.Argument(metavar="N/S", help="At most N messages in S seconds.", show_default=False)]

#: What stands for no bound.
NONE = "none"


def _bound(written: str) -> int | str:
    if written == NONE:
        return NONE
    if written.isascii() and written.isdigit() and 1 <= int(written[:20]) <= MOST_A_DAY:
        return int(written)
    raise typer.BadParameter(f"{written[:40]!r} is neither a number from 1 to {MOST_A_DAY} nor {NONE}.")


Bound = Annotated[
    Any, typer.Argument(parser=_bound, metavar="N|none", help="People a day (UTC).", show_default=False)
]


def register(channels: typer.Typer) -> None:
    channels.command()(show)
    channels.command()(set_pool)
    channels.command()(set_pace)
    channels.command()(set_first_contacts)
    channels.command()(remove)


def show(name: ChannelName, as_json: AsJson = False) -> None:
    """Show all that is known of one channel. Its secrets are never shown.

    Example: `truetick channels show sales`
    """
    from worker.cli import channel_setting_work

    channel_setting_work.show(name, as_json=as_json)


def set_pool(name: ChannelName, pool: Pool, as_json: AsJson = False) -> None:
    """Put a channel into a pool, whose channels share its messages and may stand in for each other.

    A recipient stays with the channel that wrote last. What waits on the channel stays there.

    Example: `truetick channels set-pool sales-2 sales`

    Example: `truetick channels set-pool sales-2 -`
    """
    from worker.cli import channel_setting_work

    channel_setting_work.set_pool(name, pool=None if pool == "-" else pool, as_json=as_json)


def set_pace(name: ChannelName, pace: Pace, daily_cap: DailyCap = None, as_json: AsJson = False) -> None:
    """Give a channel another pace, with this daily cap or none. It holds within a minute.

    Example: `truetick channels set-pace sales 256/60`

    Example: `truetick channels set-pace trial 1/60 --daily-cap 50`
    """
    from worker.cli import channel_setting_work

    channel_setting_work.set_pace(name, pace=pace, daily_cap=daily_cap, as_json=as_json)


def set_first_contacts(name: ChannelName, bound: Bound, as_json: AsJson = False) -> None:
    """Bound how many people a day a channel writes to for the first time. Others wait for the next day (UTC).

    It counts messages that are stored from now on. What waits for tomorrow already stays there.

    Example: `truetick channels set-first-contacts sales 100`

    Example: `truetick channels set-first-contacts sales none`
    """
    from worker.cli import channel_setting_work

    channel_setting_work.set_first_contacts(name, cap=None if bound == NONE else bound, as_json=as_json)


def remove(name: ChannelName, as_json: AsJson = False) -> None:
    """Forget a channel that never had a message, such as one with a misspelt name.

    Example: `truetick channels remove slaes`
    """
    from worker.cli import channel_setting_work

    channel_setting_work.remove(name, as_json=as_json)
