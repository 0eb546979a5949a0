"""`truetick channels reconnect` and `rotate-key`: what can be asked for. What they do stands in `linking_work`."""

from typing import Annotated

import typer

from worker.cli.options import AsJson, ChannelName


def register(channels: typer.Typer) -> None:
    channels.command()(reconnect)
    channels.command()(rotate_key)


def reconnect(
    name: ChannelName,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, max=3600, metavar="S", help="Watch so many seconds for the scan.")
    ] = 300,
    inverted: Annotated[
        bool, typer.Option("--inverted", help="Where colours are off: light modules are drawn instead of dark ones.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each stage, and nothing else.")
    ] = False,
    show_code: Annotated[
        bool, typer.Option("--show-code", help="With --json: the QR code's text, too. Whoever has it can link.")
    ] = False,
) -> None:
    """Link a channel's session to its phone again: draws the QR code here, and watches until it is scanned.

    Needs a personal access token of WaSender. Exit code 0 once the session is connected.

    Example: `truetick channels reconnect sales`

    Example: `truetick channels reconnect sales --json --timeout 120`
    """
    from worker.cli import linking_work

    linking_work.reconnect(
        name, timeout_s=timeout_s, inverted=inverted, as_json=as_json, show_code=show_code and as_json
    )


def rotate_key(
    name: ChannelName,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, max=3600, metavar="S", help="Wait so long for what is being sent.")
    ] = 90,
    as_json: AsJson = False,
) -> None:
    """Have WaSender make a new API key for a channel, and use it from then on. The former one dies, nothing is lost:
    the channel is paused for the moment. The new key is not shown.

    Needs a personal access token of WaSender. If it is interrupted, run it again.

    Example: `truetick channels rotate-key sales`
    """
    from worker.cli import linking_work

    linking_work.rotate_key(name, wait_s=wait_s, as_json=as_json)
