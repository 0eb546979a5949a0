"""`truetick opt-outs`: who wants no messages, as people see and change it."""

from collections.abc import Callable

from tests.cli.conftest import Said

NUMBER = "+917033009600"
On = Callable[..., Said]


def test_a_number_that_is_added_gets_nothing_more_until_it_is_removed(on: On) -> None:
    on("send", NUMBER, "waiting")
    added = on("opt-outs", "add", "070330 09600")
    assert (added.code, added.err) == (0, "")
    assert f"{NUMBER} gets no more messages. One message that waited for it has failed." in added.out

    refused = on("send", NUMBER, "one more")
    assert refused.code == 1
    assert "truetick opt-outs remove" in refused.err
    [message] = on("messages", "--json").json["messages"]
    assert (message["status"], message["error"]["code"]) == ("failed", "opted_out")
    assert "has asked for no more messages" in " ".join(on("why", message["id"], columns=200).out.split())
    assert on("resend", message["id"]).code == 1

    removed = on("opt-outs", "remove", NUMBER)
    assert (removed.code, removed.err) == (0, "")
    assert "gets messages again" in removed.out
    assert on("send", NUMBER, "welcome back").code == 0


def test_the_list_says_who_since_when_and_how_we_know(on: On) -> None:
    assert on("opt-outs").out.strip() == "Nobody has opted out."
    on("opt-outs", "add", NUMBER)
    on("opt-outs", "add", "+4915112345678")
    on("opt-outs", "remove", NUMBER)

    listed = on("opt-outs").out
    assert "+4915112345678" in listed
    assert "a person" in listed
    assert NUMBER not in listed
    assert NUMBER in on("opt-outs", "list", "--lifted").out
    [one] = on("opt-outs", "--json").json["opt_outs"]
    assert (one["recipient"], one["source"], one["lifted_at"]) == ("+4915112345678", "operator", None)
    assert "--limit shows more" in on("opt-outs", "list", "--limit", "1").out


def test_programs_are_told_what_changed(on: On) -> None:
    on("send", NUMBER, "waiting")
    added = on("opt-outs", "add", NUMBER, "--json").json
    assert (added["recipient"], added["failed"]) == (NUMBER, 1)
    assert added["since"].endswith("Z")
    again = on("opt-outs", "add", NUMBER, "--json").json
    assert (again["since"], again["failed"]) == (added["since"], 0)
    assert on("opt-outs", "remove", NUMBER, "--json").json == {"recipient": NUMBER, "since": None}


def test_what_cannot_be_done_is_said_in_one_sentence(on: On) -> None:
    never = on("opt-outs", "remove", NUMBER)
    assert (never.code, never.err.strip()) == (1, f"{NUMBER} has not opted out: it gets messages as it is.")
    wrong = on("opt-outs", "add", "not a number")
    assert (wrong.code, wrong.out) == (1, "")
    assert on("opt-outs", "add").code == 2


def test_a_lid_of_the_list_can_be_removed(on: On) -> None:
    assert on("opt-outs", "add", "55512345678@lid").code == 0
    assert on("opt-outs", "remove", "55512345678@LID").code == 0
    assert on("opt-outs").out.strip() == "Nobody has opted out."
