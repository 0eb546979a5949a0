"""`truetick opt-outs`: what can be asked for. What it does stands in `worker.cli.opt_out_work`."""

from typing import Annotated

import typer

from worker.cli.options import AsJson

opt_outs = typer.Typer(invoke_without_command=True)
Number = Annotated[
    str,
    typer.Argument(help="A phone number as people write it, or a LID from the list.", show_default=False),
]
Lifted = Annotated[bool, typer.Option("--lifted", help="Those who want messages again, too.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]


def register(app: typer.Typer) -> None:
    app.add_typer(opt_outs, name="opt-outs")


@opt_outs.callback()
def list_first(context: typer.Context, as_json: AsJson = False) -> None:
    """Who wants no messages: list them, add one, or let one have messages again. Without a command, list them.

    People opt out by themselves when they write STOP (see TRUETICK_STOP_WORDS), if WaSender sends webhooks of
    messages that come in.

    Example: `truetick opt-outs`
    """
    from worker.cli import opt_out_work

    if not context.invoked_subcommand:
        opt_out_work.list_them(lifted=False, limit=100, as_json=as_json)


@opt_outs.command("list")
def list_them(lifted: Lifted = False, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List who wants no messages, the latest first, and how we know.

    Example: `truetick opt-outs list --lifted --json`
    """
    from worker.cli import opt_out_work

    opt_out_work.list_them(lifted=lifted, limit=limit, as_json=as_json)


@opt_outs.command()
def add(number: Number, as_json: AsJson = False) -> None:
    """Send nothing more to a number: what waits for it fails, new messages are refused. Nothing is told to it.

    Example: `truetick opt-outs add "070330 09600"`
    """
    from worker.cli import opt_out_work

    opt_out_work.add(number, as_json=as_json)


@opt_outs.command()
def remove(number: Number, as_json: AsJson = False) -> None:
    """Let a number have messages again, because its owner wishes it. What failed meanwhile stays failed.

    Example: `truetick opt-outs remove +917033009600`
    """
    from worker.cli import opt_out_work

    opt_out_work.remove(number, as_json=as_json)
