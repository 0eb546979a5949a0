"""Options that several commands share."""

from typing import Annotated

import typer

AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print JSON, and nothing else, on standard output; an error, too, which stderr tells in words."
    ),
]

#: The greatest number that a database takes.
LAST_ID = 2**63 - 1

ChannelName = Annotated[str, typer.Argument(help="The channel's name: a-z, 0-9, - and _.", show_default=False)]
#: As many as a column holds; whoever wants more wants no cap.
MOST_A_DAY = 1_000_000_000
DailyCap = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_A_DAY, metavar="N", help="At most N messages a day (UTC): 50 on trial."),
]
FirstContacts = Annotated[
    int | None,
    typer.Option(
        "--first-contacts",
        min=1,
        max=MOST_A_DAY,
        metavar="N",
        help="Write to at most N people a day (UTC) for the first time.",
    ),
]
