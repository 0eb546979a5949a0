"""A phone is linked again: the code comes, is replaced in time, and its scan is noticed."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from tests.conftest import API_KEY
from wasender_sandbox.control import Sandbox
from worker import health
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.errors import Conflict, GatewayTrouble, NotFound, TruetickError
from worker.domain.linking import CODE_LIFETIME, CODE_PAUSE_S
from worker.domain.pace import Pace
from worker.models import Channel
from worker.parts import Parts
from worker.reconnecting import CODE_KEPT_S, Reconnection, Stage, follow

TOKEN = "1|sandbox-personal-access-token"


@pytest.fixture
def build_here(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Callable[..., Parts]:
    """Parts with a token, unless the test says otherwise; the default channel is there on both sides."""
    sandbox.create_channel("default", api_key=API_KEY)

    def make(**options: object) -> Parts:
        made = build(sqlite_url, **({"WASENDER_PERSONAL_ACCESS_TOKEN": TOKEN} | options))
        with transaction(made.engine) as connection:
            registry.ensure_default(connection, Pace(1, 5), made.clock())
        return made

    return make


@pytest.fixture
def here(build_here: Callable[..., Parts]) -> Parts:
    return build_here()


class Watch:
    """Time that passes only by pauses; and what happens at which second of it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.plans: list[tuple[float, Callable[[], object]]] = []

    def at(self, second: float, what: Callable[[], object]) -> None:
        self.plans.append((second, what))

    def pause(self, seconds: float) -> None:
        self.seconds += seconds
        due = [plan for plan in self.plans if plan[0] <= self.seconds]
        self.plans = [plan for plan in self.plans if plan not in due]
        for _, what in due:
            what()


@pytest.fixture
def watch() -> Watch:
    return Watch()


def stages(parts: Parts, watch: Watch, name: str = "default", within_s: float = 300) -> list[Stage]:
    told = follow(Reconnection(parts, name), within_s=within_s, pause=watch.pause, elapsed=lambda: watch.seconds)
    return list(told)


def words(found: list[Stage]) -> list[str]:
    return [stage.state for stage in found]


def channel(parts: Parts) -> object:
    with snapshot(parts.engine) as connection:
        return connection.execute(select(Channel.__table__)).one()


def code_of(stage: Stage) -> str:
    assert stage.qr_code is not None
    return stage.qr_code.get_secret_value()


def test_a_scanned_code_connects_the_session_and_the_channel_is_due_for_its_check(
    here: Parts, sandbox: Sandbox, watch: Watch
) -> None:
    sandbox.set_status("default", "logged_out")
    health.check_channels(here)
    watch.at(10, lambda: sandbox.scan("default"))

    found = stages(here, watch)

    assert words(found) == ["need_scan", "connected"]
    assert code_of(found[0]).startswith("2@")
    assert found[0].expires_at is not None
    assert timedelta(0) < found[0].expires_at - here.clock() <= CODE_LIFETIME
    assert "Linked devices" in found[0].advice
    assert 10 <= watch.seconds <= 15
    health.check_channels(here)
    assert channel(here).state is ChannelState.UP  # type: ignore[attr-defined]


def test_codes_are_replaced_before_they_expire_and_not_asked_for_too_often(
    here: Parts, sandbox: Sandbox, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.set_status("default", "logged_out")
    assert here.account is not None
    asked_at: list[float] = []
    real = here.account.qr_code

    def qr_code(session_id: int) -> object:
        asked_at.append(watch.seconds)
        return real(session_id)

    monkeypatch.setattr(here.account, "qr_code", qr_code)
    watch.at(200, lambda: sandbox.scan("default"))

    found = stages(here, watch)

    assert words(found) == ["need_scan"] * 6 + ["connected"]
    assert len({code_of(stage) for stage in found[:-1]}) == 6
    gaps = [later - earlier for earlier, later in zip([0.0, *asked_at], asked_at, strict=False)]
    assert all(CODE_PAUSE_S <= CODE_KEPT_S <= gap < CODE_LIFETIME.total_seconds() for gap in gaps)


def test_a_session_that_is_connected_needs_nothing(here: Parts, watch: Watch) -> None:
    (only,) = stages(here, watch)
    assert (only.state, only.qr_code, watch.seconds) == ("connected", None, 0)


def test_connected_is_not_believed_while_the_session_is_only_connecting(
    here: Parts, sandbox: Sandbox, watch: Watch
) -> None:
    sandbox.set_status("default", "connecting")
    watch.at(5, lambda: sandbox.scan("default"))
    assert words(stages(here, watch)) == ["connecting", "connected"]


def test_a_connecting_that_comes_to_nothing_ends_in_a_code(here: Parts, sandbox: Sandbox, watch: Watch) -> None:
    sandbox.set_status("default", "connecting")
    watch.at(5, lambda: sandbox.set_status("default", "need_scan"))
    watch.at(40, lambda: sandbox.scan("default"))
    found = stages(here, watch)
    assert words(found) == ["connecting", "need_scan", "connected"]
    assert code_of(found[1])


def test_a_session_that_is_lost_again_is_begun_anew(here: Parts, sandbox: Sandbox, watch: Watch) -> None:
    sandbox.set_status("default", "need_scan")
    watch.at(10, lambda: sandbox.set_status("default", "disconnected"))
    watch.at(60, lambda: sandbox.scan("default"))
    found = stages(here, watch)
    assert words(found) == ["need_scan", "need_scan", "connected"]


def test_a_passkey_request_is_told_of(here: Parts, sandbox: Sandbox, watch: Watch) -> None:
    sandbox.set_status("default", "logged_out")
    watch.at(4, lambda: sandbox.set_status("default", "need_passkey"))
    watch.at(20, lambda: sandbox.scan("default"))
    found = stages(here, watch)
    assert words(found) == ["need_scan", "need_passkey", "connected"]
    assert "passkey" in found[1].advice


def test_what_wasender_cannot_say_for_a_while_is_waited_for(here: Parts, sandbox: Sandbox, watch: Watch) -> None:
    sandbox.set_status("default", "logged_out")
    watch.at(3, lambda: sandbox.fault("error", status=503, endpoint="status"))
    watch.at(60, sandbox.clear_faults)
    watch.at(60, lambda: sandbox.scan("default"))
    assert words(stages(here, watch))[-1] == "connected"


@pytest.mark.parametrize("also_begun_anew", [False, True])
def test_a_code_that_wasender_cannot_give_just_now_is_asked_for_again_soon(
    here: Parts, sandbox: Sandbox, watch: Watch, also_begun_anew: bool
) -> None:
    sandbox.set_status("default", "logged_out")

    def strike() -> None:
        if also_begun_anew:
            refused = '{"success":false,"error":"The session is not initialised."}'
            sandbox.fault("answer", status=400, body=refused, endpoint="qrcode")
            sandbox.fault("error", status=503, endpoint="connect")
        else:
            sandbox.fault("error", status=503, endpoint="qrcode")

    watch.at(30, strike)
    watch.at(40, sandbox.clear_faults)
    watch.at(56, lambda: sandbox.scan("default"))
    assert words(stages(here, watch)) == ["need_scan", "need_scan", "connected"]


def test_nobody_scans(here: Parts, sandbox: Sandbox, watch: Watch) -> None:
    sandbox.set_status("default", "logged_out")
    with pytest.raises(GatewayTrouble) as caught:
        stages(here, watch, within_s=100)
    assert caught.value.code == "not_connected_in_time"
    assert watch.seconds < 110


# What stands in the way


def refusal(parts: Parts, watch: Watch, name: str = "default") -> TruetickError:
    with pytest.raises(TruetickError) as caught:
        stages(parts, watch, name)
    return caught.value


def test_without_a_token_a_person_learns_how_to_scan_in_wasender(
    build_here: Callable[..., Parts], watch: Watch
) -> None:
    refused = refusal(build_here(WASENDER_PERSONAL_ACCESS_TOKEN=None), watch)
    assert isinstance(refused, Conflict)
    assert refused.code == "no_access_token"
    assert "wasenderapi.com" in refused.message
    assert "Linked devices" in refused.message


def test_without_a_subscription_it_says_so(here: Parts, sandbox: Sandbox, watch: Watch) -> None:
    sandbox.set_status("default", "logged_out")
    sandbox.switch("subscription_active", False)
    refused = refusal(here, watch)
    assert (type(refused), refused.code) == (GatewayTrouble, "no_subscription")
    assert "Renew" in refused.message


def test_a_wrong_token_is_named_and_not_shown(build_here: Callable[..., Parts], watch: Watch) -> None:
    refused = refusal(build_here(WASENDER_PERSONAL_ACCESS_TOKEN="7|a-token-that-nobody-knows"), watch)
    assert refused.code == "bad_access_token"
    assert "a-token-that" not in refused.message


def test_a_wasender_that_is_away_is_no_channel_that_is_gone(build_here: Callable[..., Parts], watch: Watch) -> None:
    away = build_here(WASENDER_BASE_URL="http://127.0.0.1:9/api")
    assert refusal(away, watch).code == "gateway_unreachable"


def test_a_channel_that_there_is_not(here: Parts, watch: Watch) -> None:
    assert isinstance(refusal(here, watch, "nowhere"), NotFound)


def test_a_key_of_another_account_is_no_session_of_this_one(here: Parts, watch: Watch) -> None:
    with transaction(here.engine) as connection:
        new = NewChannel(name="foreign", pace=Pace(1, 5), api_key_encrypted=here.vault.seal("ab" * 32))
        registry.add(connection, new, here.clock())
    refused = refusal(here, watch, "foreign")
    assert refused.code == "unknown_session"
    assert "set-key foreign" in refused.message


# What is learnt on the way


def test_the_sessions_number_is_learnt_by_its_key_and_a_wrong_one_corrected(
    here: Parts, sandbox: Sandbox, watch: Watch
) -> None:
    number = sandbox.channel("default")["id"]
    stages(here, watch)
    assert channel(here).gateway_session_id == number  # type: ignore[attr-defined]
    with transaction(here.engine) as connection:
        connection.execute(update(Channel).values(gateway_session_id=number + 7))
    stages(here, watch)
    assert channel(here).gateway_session_id == number  # type: ignore[attr-defined]


def test_where_the_key_is_not_known_the_number_finds_the_session_and_its_list_tells_of_the_scan(
    build_here: Callable[..., Parts], sandbox: Sandbox, watch: Watch
) -> None:
    """As on a shell whose environment has the token but not the worker's key."""
    keyless = build_here(WASENDER_API_KEY=None)
    with transaction(keyless.engine) as connection:
        connection.execute(update(Channel).values(gateway_session_id=sandbox.channel("default")["id"]))
    sandbox.set_status("default", "logged_out")
    watch.at(5, lambda: sandbox.scan("default"))
    found = stages(keyless, watch)
    assert words(found) == ["need_scan", "connected"]
    assert "set-key" not in found[1].advice


def test_no_repr_shows_a_code() -> None:
    stage = Stage(state="need_scan", advice="", qr_code=SecretStr("2@secret"))
    assert "2@secret" not in repr(stage)
