"""What a route says of itself: what it takes, gives and refuses, and which scope it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from worker.domain.access import Scope

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a route takes, gives and refuses. `scope` None: it is open to everybody."""

    gives: Mapping[int, type[BaseModel]]
    gives_text: str | None
    refuses: Sequence[int]
    takes: type[BaseModel] | None
    takes_files: Sequence[str]
    query: type[BaseModel] | None
    headers: Mapping[str, Mapping[str, Any]]
    scope: Scope | None
    webhook_secret: bool
    example: Any
    answers: Any

    @property
    def statuses(self) -> list[int]:
        """All that it may refuse with: what it says itself, and what comes with its kind."""
        own = {*self.refuses, 414, 429, 431}
        own |= {401, 403, 500, 503} if self.scope else set()
        own |= {400, 413, 415, 422} if self.takes and self.scope else set()
        own |= {413, 415, 422} if self.takes_files else set()
        own |= {422} if self.query else set()
        return sorted(own)


def describe(
    *,
    gives: Mapping[int, type[BaseModel]],
    gives_text: str | None = None,
    refuses: Sequence[int] = (),
    takes: type[BaseModel] | None = None,
    takes_files: Sequence[str] = (),
    query: type[BaseModel] | None = None,
    headers: Mapping[str, Mapping[str, Any]] | None = None,
    scope: Scope | None = Scope.READ,
    webhook_secret: bool = False,
    example: Any = None,
    answers: Any = None,
) -> Callable[[View], View]:
    """Say what a route takes, gives and refuses, and which scope it needs. Its docstring is its description.

    `example` is one of its body, `answers` one of its answer, `gives_text` one of an answer that is text. Refusals
    that come with its kind (a key, a body, a query) are added by themselves. `takes_files` are the types of which its
    body is one file. A route without a scope is open, or opened by a webhook secret.
    """
    said = Description(
        gives=gives,
        gives_text=gives_text,
        refuses=refuses,
        takes=takes,
        takes_files=takes_files,
        query=query,
        headers=headers or {},
        scope=scope,
        webhook_secret=webhook_secret,
        example=example,
        answers=answers,
    )

    def note(view: View) -> View:
        view._truetick = said  # type: ignore[attr-defined]
        return view

    return note


def description_of(view: object) -> Description | None:
    """What a route said of itself; None for one that stays undescribed."""
    return getattr(view, "_truetick", None)
