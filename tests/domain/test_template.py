"""Templates: names are replaced by values as they are, and nothing else ever happens to a text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.errors import InvalidRequest
from worker.domain.message_request import LONGEST_TEXT, MOST_VALUES, SendRequest, parse_request
from worker.domain.template import placeholders, render

names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,39}\Z")
plain = st.text(max_size=20).filter(lambda text: "{" not in text)
values = st.one_of(st.text(max_size=30), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
blanks = st.sampled_from(["", " ", "  "])


def request(text: str = "Hello {{ name }}", **given: Any) -> SendRequest:
    return parse_request({"to": "+917033009600", "text": text} | given)


def refusal(**given: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        request(**given)
    return caught.value


@given(parts=st.lists(st.tuples(plain, names, values, blanks), max_size=6), end=plain)
def test_each_placeholder_becomes_its_value_and_all_else_stays(
    parts: list[tuple[str, str, Any, str]], end: str
) -> None:
    given_values = {name: value for _, name, value, _ in parts}
    template = "".join(f"{text}{{{{{blank}{name}{blank}}}}}" for text, name, _, blank in parts) + end
    assert render(template, given_values) == "".join(text + str(given_values[name]) for text, name, *_ in parts) + end
    assert placeholders(template) == tuple(dict.fromkeys(name for _, name, *_ in parts))


@given(text=st.text(), value=st.text())
def test_whatever_the_text_it_is_rendered_or_refused(text: str, value: str) -> None:
    try:
        assert isinstance(render(text, {"name": value}), str)
    except InvalidRequest:
        assert "{{" in text


@given(value=st.text())
def test_a_value_is_never_expanded_again(value: str) -> None:
    assert render("<{{a}}>", {"a": value, "b": "secret"}) == f"<{value}>"


@pytest.mark.parametrize(
    "text",
    ["{{", "{{}}", "{{ a", "{{a.b}}", "{{a()}}", "{{a|upper}}", "{{1}}", "{{{a}}}", "{{ä}}", "{{" + "a" * 41 + "}}"],
)
def test_what_begins_like_a_placeholder_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        placeholders(text)
    assert caught.value.code == "bad_placeholder"


def test_single_and_closing_braces_are_plain_text() -> None:
    assert render("{ a } }} {b}", {}) == "{ a } }} {b}"


def test_a_parsed_request_holds_the_rendered_text_alone() -> None:
    rendered, plain_one = request(values={"name": "Asha"}), request("Hello Asha")
    assert rendered.content == {"text": "Hello Asha"}
    assert rendered.fingerprint("+917033009600") == plain_one.fingerprint("+917033009600")
    assert rendered == plain_one


def test_captions_are_rendered_and_contents_without_one_do_without() -> None:
    url = "https://files.example/a.png"
    assert request(values={"name": "Asha"}, image_url=url).content["text"] == "Hello Asha"
    assert parse_request({"to": "+917033009600", "sticker_url": url, "values": {"a": 1}}).text is None


def test_a_placeholder_without_any_values_refuses_the_message() -> None:
    refused = refusal(text="Hello {{ name }}, {{your}} order of {{ name }}")
    assert (refused.code, refused.message) == (
        "missing_value",
        "The text has placeholders without a value: {{name}}, {{your}}.",
    )


@pytest.mark.parametrize("text", ["{{", "{{}}", "{ name }", "{{a.b}} {{1}}", "}}{{ and so on"])
def test_without_values_all_other_braces_are_plain_text(text: str) -> None:
    assert request(text).text == text


def test_a_value_may_look_like_a_placeholder() -> None:
    assert request(values={"name": "{{name}}"}).text == "Hello {{name}}"


def test_all_missing_values_are_named() -> None:
    refused = refusal(text="{{a}} {{b}} {{a}} {{c}}", values={"b": 1, "unused": 2})
    assert (refused.code, refused.message) == (
        "missing_value",
        "The text has placeholders without a value: {{a}}, {{c}}.",
    )


@pytest.mark.parametrize(
    ("value", "shown"), [(3, "3"), (1.5, "1.5"), (-7, "-7"), ("  x ", "  x "), ("", ""), (10**40 - 1, "9" * 40)]
)
def test_a_value_looks_in_the_text_as_it_was_given(value: Any, shown: str) -> None:
    assert request("<{{ name }}>", values={"name": value}).text == f"<{shown}>"


@pytest.mark.parametrize(
    "bad",
    [
        *(
            {"name": value}
            for value in (True, None, [], {}, "\x00", "\ud800", float("nan"), float("inf"), 10**5000, "x" * 1001)
        ),
        *({name: "x"} for name in ("", "a b", "1a", "a.b", "a\n", "a" * 41)),
        {f"name{index}": 1 for index in range(MOST_VALUES + 1)},
        ["name"],
        "name",
    ],
)
def test_values_are_bounded(bad: Any) -> None:
    assert refusal(values=bad).code == "invalid_request"


@pytest.mark.parametrize("value", ["x" * 1000])
def test_the_bounds_of_a_text_hold_for_what_is_rendered(value: str) -> None:
    refused = refusal(text="{{name}}" * (LONGEST_TEXT // 1000 + 1), values={"name": value})
    assert refused.message.startswith("The request cannot be used: text: ")
    assert value not in refused.message


def test_a_text_that_turns_out_blank_is_refused() -> None:
    assert "blank" in refusal(text="{{name}}", values={"name": " "}).message
