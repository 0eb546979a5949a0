"""`truetick status` and `truetick channels` in an operator's hands."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from crm_bridge.web import answers
from tests.cli.conftest import Said
from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain
from wasender_sandbox.control import Sandbox
from worker import health
from worker.channels import registry
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.models import Channel, Event
from worker.parts import Parts

Truetick = Callable[..., Said]


@pytest.fixture
def parts_here(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY)
    return build(sqlite_url)


def test_status_is_0_when_all_channels_are_up(on: Truetick, parts_here: Parts) -> None:
    health.check_channels(parts_here)

    told, as_json = on("status"), on("status", "--json")

    assert (told.code, as_json.code) == (0, 0)
    assert "All channels are up." in told.out
    assert answers.WhatsappStatus.model_validate(as_json.json).all_up


def test_status_is_1_and_says_what_to_do_when_a_channel_is_down(
    on: Truetick, parts_here: Parts, sandbox: Sandbox
) -> None:
    sandbox.set_status("default", "logged_out")
    health.check_channels(parts_here)

    said = on("status")

    assert said.code == 1
    assert "down (logged_out)" in said.out
    assert "Link it again by QR code" in said.out


def test_status_is_1_when_the_channel_is_up_but_wasender_does_not_answer_well(
    on: Truetick, parts_here: Parts
) -> None:
    health.check_channels(parts_here)
    later = parts_here.clock() + timedelta(minutes=10)
    with transaction(parts_here.engine) as connection:
        connection.execute(update(Channel).values(failures=3, next_slot_at=later))

    said, as_json = on("status"), on("status", "--json")

    assert (said.code, as_json.code) == (1, 1)
    assert "up (not flowing)" in said.out
    assert "3 attempts in a row" in " ".join(said.out.split())
    assert "All channels are up." not in said.out
    told = answers.WhatsappStatus.model_validate(as_json.json)
    assert (told.all_up, told.all_flowing, told.channels[0].flowing) == (True, False, False)


def test_status_leaves_out_a_default_channel_without_a_key_until_messages_wait_for_it(
    on: Truetick, parts_here: Parts, sandbox: Sandbox
) -> None:
    parts_here.settings.gateway_api_key = None
    on("channels", "pause", "default")
    sandbox.create_channel("sales", api_key="5b" * 32)
    on("channels", "add", "sales", "--api-key", "5b" * 32)
    health.check_channels(parts_here)

    said = on("status")
    assert (said.code, "All channels are up." in said.out, "resume" in said.out) == (0, True, False)

    on("send", "7033009600", "Hello")
    assert on("status").code == 1


def test_status_is_1_when_there_is_no_channel_or_nobody_checked(on: Truetick) -> None:
    assert on("status").code == 1

    on("send", "7033009600", "Hello")

    said = on("status")
    assert said.code == 1
    assert "Start a worker" in said.out


def test_channels_are_listed_with_the_word_and_without_it(on: Truetick) -> None:
    on("channels", "add", "sales", "--api-key", "k")

    listed, bare = on("channels", "list", "--json"), on("channels", "--json")
    shown = on("channels", "list")

    assert listed.json == bare.json
    assert [channel["name"] for channel in listed.json["channels"]] == ["sales"]
    assert (shown.code, "sales" in shown.out) == (0, True)


def test_the_default_channel_is_not_added_with_a_key_that_nobody_could_replace(
    on: Truetick, parts_here: Parts
) -> None:
    refused = on("channels", "add", "default", "--api-key", "k")

    assert (refused.code, refused.out) == (1, "")
    assert "WASENDER_API_KEY" in refused.err
    with snapshot(parts_here.engine) as connection:
        assert registry.all_channels(connection) == []


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        (["--api-key", "a-secret-key"], {}),
        ([], {"TRUETICK_CHANNEL_API_KEY": "a-secret-key"}),
        (["--api-key", "-"], {"stdin": "a-secret-key\n"}),
    ],
)
def test_a_channel_is_added_with_its_key_encrypted(
    on: Truetick, parts_here: Parts, options: list[str], extra: dict[str, str]
) -> None:
    said = on("channels", "add", "sales", "--pace", "256/60", *options, **extra)

    assert said.code == 0, said.err
    assert "a-secret-key" not in said.out + said.err
    with snapshot(parts_here.engine) as connection:
        (row,) = registry.all_channels(connection)
    assert (row.name, row.pace_messages, row.pace_seconds) == ("sales", 256, 60)
    assert "a-secret-key" not in row.api_key_encrypted
    assert parts_here.vault.open(row.api_key_encrypted).get_secret_value() == "a-secret-key"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "sales"], 2, "TRUETICK_CHANNEL_API_KEY"),
        (["add", "sales", "--api-key", "two words"], 1, "has spaces"),
        (["add", "sales", "--api-key", " "], 1, "is empty"),
        (["add", "Sales!", "--api-key", "k"], 1, "cannot be a channel's name"),
        (["add", "sales", "--api-key", "k", "--pace", "fast"], 1, "MESSAGES/SECONDS"),
        (["add", "sales", "--api-key", "k", "--daily-cap", "0"], 2, "greater than or equal to 1"),
        (["add", "sales", "--api-key", "k", "--first-contacts", "0"], 2, "greater than or equal to 1"),
        (["set-first-contacts", "sales", "0"], 2, "neither a number from 1 to 1000000000 nor none"),
        (["set-first-contacts", "sales", "9" * 5000], 2, "neither a number"),
        (["set-first-contacts", "sales", "many"], 2, "'many' is neither"),
        (["set-first-contacts", "nowhere", "2"], 1, "no channel named 'nowhere'"),
        (["set-first-contacts", "default", "2"], 1, "TRUETICK_FIRST_CONTACTS_PER_DAY"),
        (["pause", "nowhere"], 1, "no channel named 'nowhere'"),
        (["fly"], 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(on: Truetick, arguments: list[str], code: int, said: str) -> None:
    answer = on("channels", *arguments)

    assert (answer.code, answer.out) == (code, "")
    assert said in " ".join(answer.err.replace("│", " ").split())
    assert "two words" not in answer.err


def test_a_trials_cap_is_given_and_shown(on: Truetick) -> None:
    added = on("channels", "add", "trial", "--api-key", "k", "--pace", "1/60", "--daily-cap", "50", "--json")
    shown = on("channels")

    assert added.code == 0, added.err
    assert (added.json["pace"], added.json["daily_cap"], added.json["posts_today"]) == ("1/60", 50, 0)
    assert added.json["slowdown"] == 1
    assert "1/60, 0 of 50 today" in shown.out
    assert answers.Channel.model_validate(added.json).daily_cap == 50


def test_a_budget_of_first_contacts_is_given_shown_and_taken_away(on: Truetick) -> None:
    added = on("channels", "add", "sales", "--api-key", "k", "--first-contacts", "20", "--json")
    shown = [on("channels", columns=120), on("channels", "show", "sales")]
    changed = on("channels", "set-first-contacts", "sales", "30")
    freed = on("channels", "set-first-contacts", "sales", "none", "--json")

    assert (added.json["first_contact_cap"], added.json["first_contacts_today"]) == (20, 0)
    assert ["1/5, 0 of 20 new people" in said.out for said in shown] == [True, True]
    assert "at most 30 people a day" in " ".join(changed.out.split())
    assert answers.Channel.model_validate(freed.json).first_contact_cap is None


def test_a_named_channels_budget_holds_first_contacts(
    truetick: Truetick, database_url: str, parts: Parts, sandbox: Sandbox
) -> None:
    crm = Crm(parts, sandbox)
    crm.channels("sales")

    said = truetick("channels", "set-first-contacts", "sales", "2", DATABASE_URL=database_url)
    crm.enqueue(["one", "two", "three"], channel="sales")
    drain(parts)

    assert said.code == 0, said.err
    assert crm.texts() == ["one", "two"]
    assert [row.held_by for row in crm.messages()] == [None, None, "first_contacts"]
    shown = truetick("channels", "show", "sales", DATABASE_URL=database_url)
    assert "2 of 2 new people" in shown.out


def test_a_channel_is_added_once_paused_and_resumed(on: Truetick) -> None:
    added = on("channels", "add", "sales", "--api-key", "k", "--json")
    again = on("channels", "add", "sales", "--api-key", "k")
    paused = on("channels", "pause", "sales", "--json")
    resumed = on("channels", "resume", "sales")
    refused = on("channels", "resume", "sales")

    assert (added.json["state"], paused.json["state"]) == ("unknown", "paused")
    assert "truetick channels resume sales" in paused.json["action"]
    assert again.code == 1
    assert "already" in again.err
    assert resumed.code == 0
    assert "The broker cannot be reached" in " ".join(resumed.out.split())
    assert refused.code == 1
    assert "only a paused or blocked one" in refused.err


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        (["--api-key", "a-new-key"], {}),
        ([], {"TRUETICK_CHANNEL_API_KEY": "a-new-key"}),
        (["--api-key", "-"], {"stdin": "a-new-key\n"}),
    ],
)
def test_a_new_key_replaces_the_old_one_and_ends_a_block(
    on: Truetick, parts_here: Parts, options: list[str], extra: dict[str, str]
) -> None:
    on("channels", "add", "sales", "--api-key", "an-old-key")
    later = parts_here.clock() + timedelta(hours=1)
    with transaction(parts_here.engine) as connection:
        blocked = {"state": ChannelState.BLOCKED, "reason": "bad_key", "check_due_at": later}
        connection.execute(update(Channel).values(blocked))
    before = on("channels", "--json").json["channels"][0]

    said = on("channels", "set-key", "sales", *options, **extra)

    assert "truetick channels set-key sales" in before["action"]
    assert said.code == 0, said.err
    assert "a-new-key" not in said.out + said.err
    with snapshot(parts_here.engine) as connection:
        (row,) = registry.all_channels(connection)
        events = connection.execute(select(Event.source, Event.before, Event.after, Event.reason)).all()
    assert parts_here.vault.open(row.api_key_encrypted).get_secret_value() == "a-new-key"
    assert (row.state, row.reason) == ("unknown", "")
    assert row.check_due_at < later
    assert events[-1] == ("operator", "blocked", "unknown", "key_replaced")


def test_a_paused_channel_stays_paused_with_its_new_key(on: Truetick) -> None:
    on("channels", "add", "sales", "--api-key", "an-old-key")
    on("channels", "pause", "sales")

    said = on("channels", "set-key", "sales", "--api-key", "a-new-key")

    assert "stays paused" in said.out
    assert on("channels", "--json").json["channels"][0]["state"] == "paused"


@pytest.mark.parametrize("command", [("pause", "default"), ("show", "default")])
def test_the_default_channel_can_be_meant_before_a_worker_has_made_it(on: Truetick, command: tuple[str, ...]) -> None:
    said = on("channels", *command, "--json")
    assert said.code == 0, said.err
    assert said.json["name"] == "default"


def test_the_default_channels_key_is_the_environments(on: Truetick) -> None:
    on("send", "7033009600", "Hello")

    refused = on("channels", "set-key", "default", "--api-key", "k")
    unknown = on("channels", "set-key", "nowhere", "--api-key", "k")

    assert (refused.code, unknown.code) == (1, 1)
    assert "WASENDER_API_KEY" in refused.err
    assert "no channel named 'nowhere'" in unknown.err


def test_a_webhook_secret_is_kept_encrypted_and_can_be_replaced(on: Truetick, parts_here: Parts) -> None:
    on("channels", "add", "sales", "--api-key", "k")

    said = on("channels", "set-webhook-secret", "sales", "--secret", "-", stdin="the-secret-of-webhooks\n")
    unasked = on("channels", "set-webhook-secret", "sales")
    unknown = on("channels", "set-webhook-secret", "nowhere", "--secret", "s")

    with snapshot(parts_here.engine) as connection:
        sealed = connection.execute(select(Channel.webhook_secret_encrypted)).scalar_one()
    assert said.code == 0, said.err
    assert "/webhooks/wasender/sales" in said.out
    assert parts_here.vault.open(sealed).get_secret_value() == "the-secret-of-webhooks"
    assert "the-secret" not in said.out + said.err + sealed
    assert unasked.code == 2
    assert "--secret -" in unasked.err
    assert unknown.code == 1
    assert "sales" in unknown.err


def test_a_channel_is_shown_in_full_but_for_its_secrets(on: Truetick) -> None:
    on("channels", "add", "sales", "--api-key", "a-secret-key", "--pool", "main", "--session-id", "501")

    said, as_json = on("channels", "show", "sales"), on("channels", "show", "sales", "--json")
    unknown = on("channels", "show", "nowhere")

    assert said.code == 0, said.err
    assert "its own, encrypted" in said.out
    assert (as_json.json["pool"], as_json.json["session_id"], as_json.json["has_webhook_secret"]) == (
        "main",
        501,
        False,
    )
    assert "a-secret-key" not in said.out + as_json.out
    assert unknown.code == 1


def test_channels_are_put_into_a_pool_and_taken_out(on: Truetick) -> None:
    on("channels", "add", "sales", "--api-key", "k", "--pool", "main")

    joined = on("channels", "set-pool", "default", "main")
    listed = on("channels")
    left = on("channels", "set-pool", "sales", "-", "--json")
    bad = on("channels", "set-pool", "sales", "Main Pool")

    assert "in pool main, with sales." in " ".join(joined.out.split())
    assert "POOL" in listed.out
    assert answers.Channel.model_validate(left.json).pool is None
    assert (bad.code, "cannot be a pool's name" in bad.err) == (1, True)


def test_a_pace_is_changed_but_for_the_environments(on: Truetick) -> None:
    on("channels", "add", "sales", "--api-key", "k", "--daily-cap", "50")
    on("send", "7033009600", "Hello")

    said = on("channels", "set-pace", "sales", "256/60", "--json")
    default = on("channels", "set-pace", "default", "256/60")
    bad = on("channels", "set-pace", "sales", "fast")

    assert (said.json["pace"], said.json["daily_cap"]) == ("256/60", None)
    assert (default.code, "TRUETICK_PACE" in default.err) == (1, True)
    assert (bad.code, "MESSAGES/SECONDS" in bad.err) == (1, True)


def test_a_channel_without_a_history_can_be_removed(on: Truetick) -> None:
    on("channels", "add", "slaes", "--api-key", "k")
    on("send", "7033009600", "Hello")

    removed = on("channels", "remove", "slaes")
    used = on("channels", "remove", "default")

    assert removed.code == 0, removed.err
    assert (used.code, "Pause it instead" in used.err) == (1, True)
    assert [channel["name"] for channel in on("channels", "--json").json["channels"]] == ["default"]


def test_a_message_is_sent_by_a_channel_of_its_pool(on: Truetick) -> None:
    on("channels", "add", "sales", "--api-key", "k", "--pool", "main")

    sent = on("send", "7033009600", "Hello", "--pool", "main", "--failover", "--json")
    both = on("send", "7033009600", "Hello", "--pool", "main", "--channel", "default")
    unknown = on("send", "7033009600", "Hello", "--pool", "nowhere")

    assert (sent.code, sent.json["channel"]) == (0, "sales")
    assert (both.code, "not both" in both.err) == (1, True)
    assert (unknown.code, "Known pools: main." in " ".join(unknown.err.split())) == (1, True)
