"""`truetick send`, `messages`, `why`, `resend` and `cancel`: what can be asked for.

What they do stands in `worker.cli.message_work`.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from worker.cli.options import AsJson
from worker.domain.message_status import PUBLIC_STATUS, MessageState

STATUSES = sorted({*PUBLIC_STATUS.values(), *(state.value for state in MessageState)})


class Priority(StrEnum):
    TRANSACTIONAL = "transactional"
    BULK = "bulk"


class OnDoubt(StrEnum):
    HOLD = "hold"
    RESEND = "resend"


def _known_status(status: str | None) -> str | None:
    if status is not None and status not in STATUSES:
        raise typer.BadParameter(f"{status!r} is not a status; choose one of {', '.join(STATUSES)}.")
    return status


MediaUrl = Annotated[str | None, typer.Option(metavar="URL", help="Send this, with the text as its caption.")]
VoiceUrl = Annotated[str | None, typer.Option(metavar="URL", help="Send this; it has no caption.")]
Moment = Annotated[
    str | None, typer.Option(metavar="TIME", help="ISO 8601 with a zone, such as 2026-11-22T18:00:00+05:30.")
]
CheckNumber = Annotated[
    bool | None, typer.Option("--check-number", help="Ask first whether the number is on WhatsApp.")
]
QuietHours = Annotated[
    bool | None,
    typer.Option(
        "--quiet-hours/--no-quiet-hours", help="Heed the quiet hours where the recipient is, or don't; else as set."
    ),
]


def register(app: typer.Typer) -> None:
    for command in (send, messages, why, resend, cancel):
        app.command()(command)


def send(
    to: Annotated[str, typer.Argument(help="A phone number as people write it, or a group's JID.")],
    text: Annotated[str | None, typer.Argument(help="The text, or the caption of what is sent.")] = None,
    channel: Annotated[str | None, typer.Option(help="Which channel sends it.", show_default="default")] = None,
    pool: Annotated[str | None, typer.Option(help="Any channel of this pool sends it.")] = None,
    failover: Annotated[
        bool | None, typer.Option("--failover", help="Another channel of the pool may, while its own cannot.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Send this file, with the text as its caption."),
    ] = None,
    image_url: MediaUrl = None,
    video_url: MediaUrl = None,
    document_url: MediaUrl = None,
    file_name: Annotated[str | None, typer.Option(help="The document's name as the recipient sees it.")] = None,
    audio_url: VoiceUrl = None,
    sticker_url: VoiceUrl = None,
    region: Annotated[
        str | None, typer.Option(metavar="XX", help="The country of a number without a country code.")
    ] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Of all with the same key one is sent.")] = None,
    message_id: Annotated[UUID | None, typer.Option(metavar="UUID", help="The id to give it.")] = None,
    crm_ref: Annotated[str | None, typer.Option(help="What the CRM calls it.")] = None,
    reply_to: Annotated[
        UUID | None, typer.Option(metavar="ID", help="The message to the same recipient that this one quotes.")
    ] = None,
    check_number: CheckNumber = None,
    quiet_hours: QuietHours = None,
    priority: Annotated[Priority | None, typer.Option(help="Bulk goes out when nothing else waits.")] = None,
    send_after: Moment = None,
    expires_at: Moment = None,
    on_doubt: Annotated[
        OnDoubt | None, typer.Option(help="When nobody knows whether it went out: wait for a person, or resend.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a message into the queue, and say what it is waiting for.

    Example: `truetick send "+91 70330 09600" "Hello"`

    Example: `truetick send 7033009600 "Your bill" --document-url https://example.com/bill.pdf --crm-ref 4711`

    Example: `truetick send 7033009600 "The new shop" --file shop.jpg`
    """
    asked = {name: value for name, value in locals().items() if name != "as_json" and value is not None}
    from worker.cli import message_work

    given = {
        name: value if isinstance(value, bool) else str(value) for name, value in asked.items() if name != "file"
    }
    message_work.send(given, file=file, as_json=as_json)


def messages(
    status: Annotated[
        str | None,
        typer.Option(callback=_known_status, help="Only those of this status (pending, sent, failed…) or state."),
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Only those of this channel.")] = None,
    to: Annotated[str | None, typer.Option(help="Only those to this number, however it is written.")] = None,
    crm_ref: Annotated[str | None, typer.Option(help="Only those with this reference of the CRM.")] = None,
    attention: Annotated[bool, typer.Option("--attention", help="Only those that wait for a person.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List messages, the newest first.

    Example: `truetick messages --status failed --limit 100`

    Example: `truetick messages --to "70330 09600" --json`

    Example: `truetick messages --attention`
    """
    from worker.cli import message_work

    for option, given in (("--to", to), ("--crm-ref", crm_ref)):
        if given is not None and any("\ud800" <= char <= "\udfff" for char in given):
            raise typer.BadParameter("it has bytes that are no characters.", param_hint=option)
    message_work.list_them(
        status=status,
        channel=channel,
        to=to,
        crm_ref=crm_ref,
        attention=attention,
        limit=limit,
        as_json=as_json,
    )


def why(
    message_id: Annotated[UUID, typer.Argument(metavar="ID", help="The message's id (a UUID).")],
    as_json: AsJson = False,
) -> None:
    """Tell why a message is where it is: causes, whose turn it is, what to do, attempts, timeline.

    Example: `truetick why 019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7e`
    """
    from worker.cli import message_work

    message_work.why(message_id, as_json=as_json)


MessageId = Annotated[UUID, typer.Argument(metavar="ID", help="The message's id (a UUID).")]


def resend(message_id: MessageId, as_json: AsJson = False) -> None:
    """Send a message again that failed, or of which nobody knows whether it arrived. That is your decision: if it did
    arrive, the recipient gets it twice. It takes its former place in the queue.

    Example: `truetick resend 019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7e`
    """
    from worker.cli import message_work

    message_work.resend(message_id, as_json=as_json)


def cancel(message_id: MessageId, as_json: AsJson = False) -> None:
    """Withdraw a message that has not been sent, or let go of one of which nobody knows whether it arrived.

    Example: `truetick cancel 019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7e`
    """
    from worker.cli import message_work

    message_work.cancel(message_id, as_json=as_json)
