"""Why an answer did not come, told by the exception that came instead.

Every exception here means "nobody knows": it may have been raised after the request was written. The only proof of
the contrary is `wire.NeverConnected`, which this module does not treat.
"""

import http.client
from collections.abc import Iterator

import requests.exceptions as of_requests
import urllib3.exceptions as of_urllib3

from worker.domain.outcomes import Cause

#: The deepest known exception of a chain tells the cause. All exceptions of requests stand here, so that one that
#: a new release adds is noticed; urllib3's and Python's stand here where they say more.
_CAUSES: dict[type[BaseException], Cause] = {
    of_requests.RequestException: Cause.CONNECTION_LOST,
    of_requests.ConnectionError: Cause.CONNECTION_LOST,
    of_requests.ProxyError: Cause.CONNECTION_LOST,
    of_requests.SSLError: Cause.CONNECTION_LOST,
    of_requests.RetryError: Cause.CONNECTION_LOST,
    of_requests.ChunkedEncodingError: Cause.CONNECTION_LOST,
    of_requests.Timeout: Cause.TIMEOUT,
    of_requests.ConnectTimeout: Cause.TIMEOUT,
    of_requests.ReadTimeout: Cause.TIMEOUT,
    of_requests.HTTPError: Cause.UNREADABLE_ANSWER,
    of_requests.InvalidJSONError: Cause.UNREADABLE_ANSWER,
    of_requests.JSONDecodeError: Cause.UNREADABLE_ANSWER,
    of_requests.ContentDecodingError: Cause.UNREADABLE_ANSWER,
    of_requests.StreamConsumedError: Cause.UNREADABLE_ANSWER,
    of_requests.TooManyRedirects: Cause.UNREADABLE_ANSWER,
    # requests raises InvalidHeader for a malformed *answer* too, so not even this one proves "not sent".
    of_requests.InvalidHeader: Cause.UNREADABLE_ANSWER,
    # The rest cannot come from a request that the client made; if it does, nothing is proven.
    of_requests.URLRequired: Cause.CONNECTION_LOST,
    of_requests.MissingSchema: Cause.CONNECTION_LOST,
    of_requests.InvalidSchema: Cause.CONNECTION_LOST,
    of_requests.InvalidURL: Cause.CONNECTION_LOST,
    of_requests.InvalidProxyURL: Cause.CONNECTION_LOST,
    of_requests.UnrewindableBodyError: Cause.CONNECTION_LOST,
    of_urllib3.TimeoutError: Cause.TIMEOUT,
    of_urllib3.DecodeError: Cause.UNREADABLE_ANSWER,
    of_urllib3.InvalidChunkLength: Cause.UNREADABLE_ANSWER,
    http.client.IncompleteRead: Cause.CONNECTION_LOST,
    http.client.HTTPException: Cause.UNREADABLE_ANSWER,
    TimeoutError: Cause.TIMEOUT,
    OSError: Cause.CONNECTION_LOST,
}


def unknown_cause(error: BaseException) -> Cause:
    """Give the cause, always one of an unknown outcome, of an `error` that came in place of an answer."""
    cause = Cause.CONNECTION_LOST
    for link in _chain(error):
        cause = next((_CAUSES[kind] for kind in type(link).__mro__ if kind in _CAUSES), cause)
    return cause


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(20):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
