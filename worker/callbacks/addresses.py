"""Where an endpoint is: an http(s) address, or a Celery task of the CRM's own and its queue."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests

from worker.domain.errors import InvalidRequest

LONGEST_ADDRESS = 2048
TASK_SCHEME = "celery:"

_TASK = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", re.ASCII)
_QUEUE = re.compile(r"[A-Za-z0-9][\w.:-]{0,99}", re.ASCII)
_LONGEST_TASK = 200
#: Truetick's own workers listen to these, and drop a task that they do not know.
_OURS = re.compile(r"celery|truetick(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class HttpAddress:
    """As it goes on the wire: ASCII, with a path. Its path and query may hold a secret, so it is never printed."""

    url: str = field(repr=False)

    @property
    def masked(self) -> str:
        """Scheme, host and port only."""
        split = urlsplit(self.url)
        return f"{split.scheme}://{split.netloc}"


@dataclass(frozen=True, kw_only=True)
class TaskAddress:
    """A Celery task, published into the CRM's queue on the broker that Truetick uses."""

    task: str
    queue: str

    @property
    def masked(self) -> str:
        """There is nothing to mask."""
        return f"{TASK_SCHEME}{self.task}@{self.queue}"


Address = HttpAddress | TaskAddress


def parse_address(text: str) -> Address:
    """Understand `https://…`, `http://…` or `celery:TASK@QUEUE`. Raises InvalidRequest, which never shows it."""
    given = text.strip()
    if not given or len(given) > LONGEST_ADDRESS or not given.isprintable() or " " in given:
        raise _unusable(f"it is empty, has blanks or control characters, or more than {LONGEST_ADDRESS} characters")
    if given.lower().startswith(TASK_SCHEME):
        return _task_address(given[len(TASK_SCHEME) :])
    return _http_address(given)


def _task_address(given: str) -> TaskAddress:
    task, at, queue = given.partition("@")
    if not at or not _TASK.fullmatch(task) or len(task) > _LONGEST_TASK or not _QUEUE.fullmatch(queue):
        raise _unusable("a Celery task is written celery:TASK@QUEUE, such as celery:crm.tasks.on_status@crm")
    if _OURS.fullmatch(queue) or _OURS.fullmatch(task):
        raise _unusable(
            "Truetick's own workers listen to the queues celery and truetick.*, and would drop the task; "
            "give the CRM's worker a queue of its own"
        )
    return TaskAddress(task=task, queue=queue)


def _http_address(given: str) -> HttpAddress:
    try:
        split = urlsplit(given)
        if split.scheme.lower() not in {"http", "https"} or not split.hostname:
            raise _unusable("it has to begin with https:// (or http:// within your own network), or with celery:")
        if split.username is not None or split.password is not None:
            raise _unusable("a user name and password in it would end up in logs; the signature proves who calls")
        if split.fragment:
            raise _unusable('what follows "#" never reaches a server; leave it out')
        prepared = requests.Request("POST", given).prepare().url
    except (requests.RequestException, ValueError):
        raise _unusable("it is not an address that anybody could call") from None
    if not prepared or not prepared.isascii() or len(prepared) > LONGEST_ADDRESS:
        raise _unusable("it is not an address that anybody could call")
    return HttpAddress(url=prepared)


def _unusable(why: str) -> InvalidRequest:
    return InvalidRequest(f"The endpoint's address cannot be used: {why}.", code="bad_address")
