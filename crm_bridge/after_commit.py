"""Calls something once after a session's outermost transaction is committed, unless what asked for it was undone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_WANTED: Final = "truetick.after_commit"


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    call: Callable[[], None]
    #: The transaction or savepoint in which it was asked for.
    within: SessionTransaction | None


def call_after_commit(session: Session, call: Callable[[], None]) -> None:
    """Have `call` called after the commit; once, however often it is asked for in one transaction."""
    if not event.contains(session, "after_commit", _after_commit):
        event.listen(session, "after_commit", _after_commit)
        event.listen(session, "after_soft_rollback", _after_rollback)
        event.listen(session, "after_transaction_end", _after_end)
    within = session.get_nested_transaction() or session.get_transaction()
    session.info.setdefault(_WANTED, []).append(_Wanted(call=call, within=within))


def _after_commit(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint is released; what it holds can still be undone
        return
    for call in dict.fromkeys(wanted.call for wanted in session.info.pop(_WANTED, ())):
        call()


def _after_rollback(session: Session, undone: SessionTransaction) -> None:
    if _WANTED in session.info:
        session.info[_WANTED] = [one for one in session.info[_WANTED] if not _is_part_of(one.within, undone)]


def _after_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:  # closed, with or without a commit
        session.info.pop(_WANTED, None)


def _is_part_of(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer
