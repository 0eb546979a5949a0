"""Which texts mean "no more messages": the whole text is one of the words, however it is dressed up."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.opt_out import START_WORDS, STOP_WORDS, Wish, WishWords, compared, start_answer, stop_answer

WORDS = WishWords.of(STOP_WORDS, START_WORDS)
#: What may stand around a word.
_dressing = st.text(st.sampled_from([*" \t\n.,!?*_~\"'()-…।。！🛑🙏✋🏽\u200f\u200b\ufe0f"]), max_size=5)


@pytest.mark.parametrize(
    "text",
    [
        *("STOP", "stop", "Stop.", " stop \n", "*STOP*", "ＳＴＯＰ", "🛑 STOP 🛑", "STOP!!!", "«stop»", "stop\u200b"),
        *(
            "Stop  all",
            "UNSUBSCRIBE",
            "रोको।",
            "बंद करो 🙏",
            "நிறுத்து",
            "\u200fتوقف\u200f",
            "NO MÁS",
            "no mas",
            "Arrêt",
            "ARRETER",
            "ايقاف",
            "СТОП",
            "退订。",
        ),
    ],
)
def test_a_word_counts_in_any_dress(text: str) -> None:
    found = WORDS.wish_in(text)
    assert found is not None
    assert found[0] is Wish.STOP
    assert found[1] == compared(found[1])


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "!!!", "🛑", "stop it", "please stop", "don't stop", "stopp.ing", "st op", "STOP2", "nonstop"),
        *("where is the bus stop?", "stop" * 50, "रोकोगे", "\ud800"),
    ],
)
def test_a_sentence_with_the_word_in_it_is_no_wish(text: str) -> None:
    assert WORDS.wish_in(text) is None


@given(word=st.sampled_from(STOP_WORDS + START_WORDS), before=_dressing, after=_dressing, loud=st.booleans())
def test_every_word_of_the_list_is_known_again(word: str, before: str, after: str, loud: bool) -> None:
    written = unicodedata.normalize("NFD", word.upper() if loud else word)
    found = WORDS.wish_in(before + written + after)
    assert found is not None
    assert (found[0] is Wish.STOP) == (compared(word) in {compared(stop) for stop in STOP_WORDS})


@given(st.text(max_size=200))
def test_any_text_at_all_is_compared_without_trouble_and_only_once(text: str) -> None:
    assert compared(compared(text)) == compared(text)


def test_a_word_on_both_lists_means_stop_and_an_empty_list_means_nothing() -> None:
    both = WishWords.of(["End"], ["end", "go on", " ", "!"])
    assert both.wish_in("END") == (Wish.STOP, "end")
    assert both.wish_in("Go  on!") == (Wish.START, "go on")
    assert both.wish_in("!") is None


def test_the_answer_names_the_way_back_and_can_be_switched_off() -> None:
    assert stop_answer(None, ["start"]) == "You will get no more messages from us. Reply START to get them again."
    assert "again" not in str(stop_answer(None, []))
    assert stop_answer("Tschüss.", ["start"]) == "Tschüss."
    assert {stop_answer("", ["start"]), stop_answer(" Off ", ["start"])} == {None}
    assert {start_answer(None), start_answer("off")} == {None}
    assert start_answer("Hello again.") == "Hello again."
