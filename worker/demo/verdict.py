"""Compares what Truetick says with what the sandbox knows WhatsApp got. Pure: no I/O."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wasender_sandbox.records import LedgerEntry, SendRequest

TICKED = frozenset({"sent", "delivered", "read"})


@dataclass(frozen=True, kw_only=True)
class Told:
    """What Truetick says of one message, and what should have become of it. `seq` is the order of arrival."""

    seq: int
    status: str
    recipient: str | None
    text: str
    gateway_msg_id: int | None
    should_arrive: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts. Everything but `proven` has to be zero."""

    #: Said to be sent, and WhatsApp has it.
    proven: int
    #: Said to be sent, delivered or read, and WhatsApp's side does not say so.
    false_sent: int
    #: Messages that WhatsApp has more than once: the surplus.
    duplicates: int
    #: Messages that overtook an earlier one to the same recipient.
    out_of_order: int
    #: Sends that the gateway refused because they came too fast.
    over_limit: int
    #: Messages that should have arrived and are not said to be sent.
    missing: int

    @property
    def clean(self) -> bool:
        return not any((self.false_sent, self.duplicates, self.out_of_order, self.over_limit, self.missing))


def verdict(messages: Sequence[Told], ledger: Sequence[LedgerEntry], requests: Iterable[SendRequest] = ()) -> Verdict:
    """`ledger` has to be read after `messages`: ticks that came in between are no contradiction."""
    by_msg_id = {entry.msg_id: entry for entry in ledger}
    ticked = [told for told in messages if told.status in TICKED]
    proven = sum(_is_proven(told, by_msg_id) for told in ticked)
    kept = [entry for entry in ledger if entry.log_status != "failed"]
    copies = Counter((entry.recipient, entry.text) for entry in kept)
    return Verdict(
        proven=proven,
        false_sent=len(ticked) - proven,
        duplicates=sum(copies.values()) - len(copies),
        out_of_order=_overtakings(messages, kept),
        over_limit=sum(request.reason == "throttle" for request in requests),
        missing=sum(told.should_arrive and told.status not in TICKED for told in messages),
    )


def _is_proven(told: Told, by_msg_id: dict[int, LedgerEntry]) -> bool:
    entry = by_msg_id.get(told.gateway_msg_id) if told.gateway_msg_id is not None else None
    if entry is None or (entry.recipient, entry.text) != (told.recipient, told.text):
        return False
    evidence = {"sent": entry.acked_at, "delivered": entry.delivered_at, "read": entry.read_at}
    return evidence[told.status] is not None


def _overtakings(messages: Sequence[Told], ledger: Sequence[LedgerEntry]) -> int:
    """By recipient: how many entries of the ledger follow one that was enqueued later."""
    seq_of: dict[tuple[str | None, str | None], int] = {(told.recipient, told.text): told.seq for told in messages}
    arrived: dict[str, list[int]] = defaultdict(list)
    for entry in sorted(ledger, key=lambda entry: entry.index):
        seq = seq_of.get((entry.recipient, entry.text))
        if seq is not None:
            arrived[entry.recipient].append(seq)
    return sum(later < max(seqs[: place + 1]) for seqs in arrived.values() for place, later in enumerate(seqs[1:]))
