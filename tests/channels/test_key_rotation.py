"""A channel gets another key while the CRM goes on: nothing is lost, and whatever breaks leaves a way back."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from tests.channels.test_reconnecting import TOKEN
from tests.conftest import API_KEY
from tests.drain.scene import WIDE, Crm, drain
from wasender_sandbox.control import Sandbox
from worker import health, key_rotation
from worker.channels import states
from worker.database import transaction
from worker.domain.channel_state import KEY_ROTATION, ChannelState, remedy
from worker.domain.errors import Conflict, GatewayTrouble, NotConfigured, TruetickError
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.key_rotation import Rotated, rotate
from worker.models import Event
from worker.parts import Parts

PAUSED, UNKNOWN = ChannelState.PAUSED, ChannelState.UNKNOWN


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(database_url, WASENDER_PERSONAL_ACCESS_TOKEN=TOKEN, TRUETICK_READ_TIMEOUT_S=0.5)


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    crm = Crm(parts, sandbox)
    crm.channels("sales")
    return crm


def turn(crm: Crm, name: str = "sales", *, wait_s: float = 0) -> Rotated:
    return rotate(crm.parts, name, wait_s=wait_s, pause=lambda _: None)


def refusal(crm: Crm, name: str = "sales", **options: Any) -> TruetickError:
    with pytest.raises(TruetickError) as caught:
        turn(crm, name, **options)
    return caught.value


def stands(crm: Crm) -> tuple[ChannelState, str]:
    row = crm.channel("sales")
    return row.state, row.reason


def key_of(crm: Crm) -> str:
    return crm.parts.vault.open(crm.channel("sales").api_key_encrypted).get_secret_value()


def test_messages_go_on_with_the_new_key_and_the_old_one_is_dead(crm: Crm) -> None:
    old = key_of(crm)
    crm.enqueue(["before"], channel="sales")
    drain(crm.parts)

    assert turn(crm) == Rotated(resumed=True)

    assert stands(crm) == (UNKNOWN, "")
    assert key_of(crm) == crm.sandbox.channel("sales")["api_key"] != old
    assert crm.parts.gateway.status(old).connection == "refused"
    health.check_channels(crm.parts)
    crm.set_channel("sales", unacked_window=WIDE)  # the first one's tick is not asked for here
    crm.enqueue(["after"], channel="sales")
    drain(crm.parts)
    assert crm.texts(channel="sales") == ["before", "after"]
    told = crm.read(
        select(Event.after, Event.reason)
        .where(Event.source == "operator", Event.channel_id == crm.channel("sales").id, Event.before.is_not(None))
        .order_by(Event.id)
    )
    assert [tuple(row) for row in told] == [("paused", KEY_ROTATION), ("paused", "key_replaced"), ("unknown", "")]


def test_a_channel_that_a_person_paused_stays_paused(crm: Crm) -> None:
    with transaction(crm.parts.engine) as connection:
        states.pause(connection, crm.channel("sales").id, now=crm.parts.clock())
    assert turn(crm) == Rotated(resumed=False)
    assert stands(crm) == (PAUSED, "by a person")
    assert key_of(crm) == crm.sandbox.channel("sales")["api_key"]


def test_a_persons_pause_in_between_outlasts_the_rotation(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert crm.parts.account is not None
    real = crm.parts.account.regenerate_key

    def meanwhile(session_id: int) -> Any:
        with transaction(crm.parts.engine) as connection:
            states.pause(connection, crm.channel("sales").id, now=crm.parts.clock())
        return real(session_id)

    monkeypatch.setattr(crm.parts.account, "regenerate_key", meanwhile)
    assert turn(crm) == Rotated(resumed=False)
    assert stands(crm) == (PAUSED, "by a person")


@pytest.mark.parametrize(
    ("state", "reason"), [(ChannelState.MUTE, "no_ticks"), (ChannelState.BLOCKED, Cause.NO_SUBSCRIPTION)]
)
def test_a_channel_that_a_rotation_would_call_sound_without_proof_keeps_its_key(
    crm: Crm, state: ChannelState, reason: str
) -> None:
    old = key_of(crm)
    crm.set_channel("sales", state=state, reason=reason)

    refused = refusal(crm)

    assert (type(refused), refused.code) == (Conflict, f"channel_{state.value}")
    assert "truetick channels set-key sales" in refused.message
    assert stands(crm) == (state, reason)
    assert crm.sandbox.channel("sales")["api_key"] == old == key_of(crm)


def test_a_block_because_of_the_key_ends_with_another_one(crm: Crm) -> None:
    crm.set_channel("sales", state=ChannelState.BLOCKED, reason=Cause.BAD_KEY)
    assert turn(crm) == Rotated(resumed=True)
    assert stands(crm) == (UNKNOWN, "")


@pytest.mark.parametrize("what", ["a message", "a run"])
def test_nothing_is_asked_for_while_something_is_in_flight(crm: Crm, what: str) -> None:
    old = key_of(crm)
    if what == "a message":
        crm.enqueue(["one"], channel="sales")
        crm.set_message(crm.messages()[0].seq, state=MessageState.SENDING, lease_token="f" * 32)
    else:
        crm.set_channel("sales", lease_token="f" * 32, lease_expires_at=crm.parts.clock().replace(year=2100))

    refused = refusal(crm)

    assert (type(refused), refused.code) == (Conflict, "still_sending")
    assert stands(crm) == (UNKNOWN, ""), "it does not go on"
    assert crm.sandbox.channel("sales")["api_key"] == old == key_of(crm)


def test_it_waits_for_what_is_in_flight(crm: Crm) -> None:
    crm.enqueue(["one"], channel="sales")
    seq = crm.messages()[0].seq
    crm.set_message(seq, state=MessageState.SENDING, lease_token="f" * 32)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        assert stands(crm) == (PAUSED, KEY_ROTATION)
        if len(pauses) == 3:
            crm.set_message(seq, state=MessageState.ACCEPTED)

    assert rotate(crm.parts, "sales", wait_s=90, pause=pause).resumed
    assert len(pauses) == 3


# Trouble


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, '{"success":false,"error":"WhatsApp session not found."}', "unknown_session"),
        (429, '{"message":"Too Many Attempts.","retry_after":30}', "throttled"),
    ],
)
def test_a_clear_no_leaves_all_as_it_was(crm: Crm, status: int, body: str, code: str) -> None:
    old = key_of(crm)
    strike(crm, "answer", status=status, body=body)
    refused = refusal(crm)
    assert (type(refused), refused.code) == (GatewayTrouble, code)
    assert "as it was" in refused.message
    assert stands(crm) == (UNKNOWN, "")
    assert key_of(crm) == old


def test_a_lost_answer_is_looked_up_in_the_list(crm: Crm) -> None:
    strike(crm, "reset", when="after")
    assert turn(crm) == Rotated(resumed=True)
    assert key_of(crm) == crm.sandbox.channel("sales")["api_key"]


def test_an_answer_that_says_nothing_keeps_the_channel_paused_until_it_is_done_again(crm: Crm) -> None:
    strike(crm, "reset", when="before")
    unclear = refusal(crm)
    assert (type(unclear), unclear.code) == (Conflict, "key_unclear")
    assert "truetick channels rotate-key sales" in unclear.message
    assert stands(crm) == (PAUSED, KEY_ROTATION)
    assert "rotate-key sales" in (remedy(*stands(crm), "sales") or "")

    crm.sandbox.clear_faults()
    assert turn(crm) == Rotated(resumed=True)
    assert key_of(crm) == crm.sandbox.channel("sales")["api_key"]


def died_after_the_answer(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """WaSender has made a new key, and the process is gone before it was stored."""

    class Killed(BaseException):
        pass

    def store(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(key_rotation, "_store", store)
        with pytest.raises(Killed):
            turn(crm)


def test_a_process_that_dies_before_it_has_stored_the_key_leaves_a_way_back(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    died_after_the_answer(crm, monkeypatch)
    assert stands(crm) == (PAUSED, KEY_ROTATION)
    assert key_of(crm) != crm.sandbox.channel("sales")["api_key"], "the old key is dead"

    assert turn(crm) == Rotated(resumed=True)

    assert key_of(crm) == crm.sandbox.channel("sales")["api_key"]
    health.check_channels(crm.parts)
    crm.enqueue(["one"], channel="sales")
    drain(crm.parts)
    assert crm.texts(channel="sales") == ["one"]


def resume(crm: Crm) -> None:
    with transaction(crm.parts.engine) as connection:
        states.resume(connection, crm.channel("sales").id, now=crm.parts.clock())


def test_an_interrupted_rotation_is_not_resumed_with_a_key_that_may_be_dead(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    died_after_the_answer(crm, monkeypatch)

    with pytest.raises(Conflict, match="truetick channels rotate-key sales") as refused:
        resume(crm)

    assert refused.value.code == "key_rotation"
    assert stands(crm) == (PAUSED, KEY_ROTATION)


def test_whoever_stores_the_living_key_by_hand_may_resume(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    died_after_the_answer(crm, monkeypatch)
    sealed = crm.parts.vault.seal(crm.sandbox.channel("sales")["api_key"])
    with transaction(crm.parts.engine) as connection:
        states.replace_key(connection, crm.channel("sales").id, sealed, now=crm.parts.clock())
    assert stands(crm) == (PAUSED, "by a person")
    assert "truetick channels resume sales" in (remedy(*stands(crm), "sales") or "")

    resume(crm)

    health.check_channels(crm.parts)
    assert stands(crm) == (ChannelState.UP, "connected")


def test_a_database_that_is_away_for_a_moment_is_waited_for(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = states.replace_key, []

    def replace_key(*given: Any, **more: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("", {}, Exception("away"))
        return real(*given, **more)

    monkeypatch.setattr(states, "replace_key", replace_key)
    assert turn(crm).resumed
    assert key_of(crm) == crm.sandbox.channel("sales")["api_key"]


def test_a_database_that_stays_away_is_told_with_the_way_back(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace_key(*_: Any, **__: Any) -> Any:
        raise OperationalError("", {}, Exception("away"))

    monkeypatch.setattr(states, "replace_key", replace_key)
    lost = refusal(crm)
    assert lost.code == "key_not_stored"
    assert "rotate-key sales" in lost.message
    assert stands(crm) == (PAUSED, KEY_ROTATION)


def test_of_two_rotations_at_once_the_key_that_lives_is_kept(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one begins and ends while this one's answer is on its way."""
    assert crm.parts.account is not None
    account, real = crm.parts.account, crm.parts.account.regenerate_key

    def overtaken(session_id: int) -> Any:
        dead = real(session_id)
        monkeypatch.setattr(account, "regenerate_key", real)
        assert turn(crm) == Rotated(resumed=True)
        return dead

    monkeypatch.setattr(account, "regenerate_key", overtaken)
    assert turn(crm) == Rotated(resumed=True), "nobody has paused it"

    assert key_of(crm) == crm.sandbox.channel("sales")["api_key"]
    health.check_channels(crm.parts)
    assert stands(crm)[0] is ChannelState.UP


def test_of_two_rotations_at_once_none_is_guessed_where_wasender_does_not_tell(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crm.parts.account is not None
    real = crm.parts.account.regenerate_key

    def overtaken(session_id: int) -> Any:
        with transaction(crm.parts.engine) as connection:
            states.replace_key(
                connection, crm.channel("sales").id, crm.parts.vault.seal("ab" * 32), now=crm.parts.clock()
            )
        crm.sandbox.fault("error", status=503, endpoint="list-sessions")
        return real(session_id)

    monkeypatch.setattr(crm.parts.account, "regenerate_key", overtaken)
    unclear = refusal(crm)
    assert unclear.code == "key_unclear"
    assert "rotate-key sales" in unclear.message
    assert stands(crm)[0] is PAUSED


# What must not be touched


def test_the_default_channels_key_is_the_environments(crm: Crm) -> None:
    crm.channels("default")
    refused = refusal(crm, "default")
    assert refused.code == "key_of_environment"
    assert "WASENDER_API_KEY" in refused.message
    assert crm.sandbox.channel("default")["api_key"] == API_KEY


def test_a_typed_number_alone_kills_no_other_sessions_key(crm: Crm) -> None:
    """The key is wrong, and the number is that of another session."""
    wrong = crm.parts.vault.seal("ab" * 32)
    crm.set_channel("sales", api_key_encrypted=wrong, gateway_session_id=crm.sandbox.channel("default")["id"])
    assert refusal(crm).code == "unknown_session"
    assert crm.sandbox.channel("default")["api_key"] == API_KEY


def test_not_even_an_interrupted_rotation_takes_another_channels_session(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    died_after_the_answer(crm, monkeypatch)
    crm.channels("default")
    crm.set_channel("sales", gateway_session_id=crm.sandbox.channel("default")["id"])
    assert refusal(crm).code == "unknown_session"
    assert crm.sandbox.channel("default")["api_key"] == API_KEY


def test_without_a_secret_key_wasender_is_not_even_asked(crm: Crm, build: Callable[..., Parts]) -> None:
    url = crm.parts.engine.url.render_as_string(hide_password=False)
    bare = build(url, TRUETICK_SECRET_KEY=None, WASENDER_PERSONAL_ACCESS_TOKEN=TOKEN)
    before = crm.sandbox.channel("sales")["api_key"]
    with pytest.raises((NotConfigured, Conflict)):
        rotate(bare, "sales", wait_s=0, pause=lambda _: None)
    assert crm.sandbox.channel("sales")["api_key"] == before
    assert stands(crm) == (ChannelState.UP, "")


def test_without_a_token_a_person_learns_how_to_do_it(crm: Crm, build: Callable[..., Parts]) -> None:
    bare = build(crm.parts.engine.url.render_as_string(hide_password=False))
    with pytest.raises(Conflict) as caught:
        rotate(bare, "sales", wait_s=0)
    assert caught.value.code == "no_access_token"
    assert "set-key sales" in caught.value.message


def test_the_sessions_number_is_known_before_the_key_dies(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert crm.parts.account is not None
    real, numbers = crm.parts.account.regenerate_key, []

    def regenerate(session_id: int) -> Any:
        numbers.append(crm.channel("sales").gateway_session_id)
        return real(session_id)

    monkeypatch.setattr(crm.parts.account, "regenerate_key", regenerate)
    turn(crm)
    assert numbers == [crm.sandbox.channel("sales")["id"]]


def strike(crm: Crm, kind: str, **options: Any) -> None:
    """Trouble at the question for a new key."""
    crm.sandbox.fault(kind, endpoint="regenerate-key", **options)
