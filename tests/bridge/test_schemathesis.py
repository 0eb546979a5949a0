"""Schemathesis reads the description and plays a hostile client: every answer has to be one that is described."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from werkzeug.serving import make_server

from crm_bridge.web import create_app
from tests.bridge.conftest import AUTHORIZED, keyed
from tests.files import GENUINE
from tests.real_servers import Valkey
from worker import health
from worker.celery_app import app as celery
from worker.diagnosis import broker_line, trial
from worker.parts import Parts

SECRET = "5f4dcc3b5aa765d61d8327deb882cf99"
SEED = 20261122
#: Each phase stops at this many examples a route; it is the whole run that has to stay below a minute.
EXAMPLES = 12
#: A request can be well-formed and yet have no meaning (a number that nobody has), so it is refused with 422.
SENSIBLE = ["2xx", "401", "403", "404", "409", "422", "429"]
HELLO = {"to": "70330 09600", "text": "Hello"}
#: Nobody makes a picture out of a description.
for _mime_type, _files in GENUINE.items():
    schemathesis.openapi.media_type(_mime_type, st.sampled_from(_files) | st.binary(max_size=50))


@pytest.fixture
def address(
    build: Callable[..., Parts], sqlite_url: str, broker: Valkey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The application behind a real server, with a channel and everything that it needs to be ready."""
    monkeypatch.setattr(celery.conf, "broker_url", broker.url)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # A test message is followed for up to a minute; whoever asks for hundreds has no time for that.
    monkeypatch.setattr(trial, "_is_over", lambda *_: True)
    monkeypatch.setattr(broker_line, "REPLY_S", 0.1)
    parts = keyed(build(sqlite_url, TRUETICK_REQUESTS_PER_MINUTE=10**6))
    parts.settings.gateway_webhook_secret = SecretStr(SECRET)
    health.check_channels(parts)
    server = make_server("127.0.0.1", 0, create_app(parts), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


#: Every boundary of every field, and requests that follow from each other: worth nothing where nothing is read.
THOROUGH = ("coverage", "stateful")


def failures_of(address: str, headers: dict[str, str], *, leave_out: Sequence[str] = ()) -> tuple[list[str], int]:
    """What Schemathesis finds wrong, and how many requests it made."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "headers": headers,
            "generation": {"max-examples": EXAMPLES, "no-shrink": True, "database": "none"},
            "phases": {phase: {"enabled": False} for phase in leave_out},
            "checks": {"positive_data_acceptance": {"expected-statuses": SENSIBLE}},
        }
    )
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json", config=config)
    found, asked = [], 0
    for event in from_schema(schema).execute():
        if isinstance(event, NonFatalError):
            found.append(f"{event.label}: {event.value!r}")
        if isinstance(event, FatalError):
            raise event.exception
        if isinstance(event, ScenarioFinished):
            asked += len(event.recorder.interactions)
            for nodes in event.recorder.checks.values():
                failures = [str(node.failure_info.failure) for node in nodes if node.failure_info]
                found += [f"{event.label}: {failure}" for failure in failures if not _is_the_same_in_a_query(failure)]
    return sorted(set(found)), asked


def _is_the_same_in_a_query(failure: str) -> bool:
    """A query knows no types: the text "true" stands there as the boolean does, and a list of one as its item."""
    violations = [line for line in failure.splitlines() if line.strip().startswith("- violates")]
    became = ("became string)", "became array)", "became number)", "became integer)", "became boolean)")
    return " in query" in failure and bool(violations) and all(line.endswith(became) for line in violations)


def test_with_a_key_every_answer_is_as_described(address: str) -> None:
    for number in range(5):
        hello = HELLO | {"crm_ref": str(number)}
        assert requests.post(f"{address}/api/messages", json=hello, headers=AUTHORIZED, timeout=10).status_code == 202

    found, asked = failures_of(address, AUTHORIZED | {"X-Webhook-Signature": SECRET})

    assert found == []
    assert asked > 200


def test_without_a_key_nothing_is_given_away(address: str) -> None:
    """Refused by its address, before anybody looks at a parameter or a body: some of each kind are enough."""
    found, asked = failures_of(address, {}, leave_out=THOROUGH)

    assert found == []
    assert asked > 100
