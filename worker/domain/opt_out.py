"""Opt-out: which words of a recipient's mean "no more messages" and "messages again". Pure; keeps no text."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

#: What people write who want no more messages, in the languages of those who are written to most.
STOP_WORDS: tuple[str, ...] = (
    *("stop", "stop all", "stopall", "unsubscribe", "opt out", "optout", "cancel", "end", "quit"),  # English
    *("रोकें", "रोको", "बंद करो", "बंद करें", "band karo", "रुको"),  # Hindi
    *("நிறுத்து", "ఆపు", "ನಿಲ್ಲಿಸಿ", "നിർത്തുക", "বন্ধ করুন", "થંભો", "બંધ કરો", "थांबा", "ਬੰਦ ਕਰੋ"),
    *("توقف", "إيقاف", "ايقاف", "الغاء", "إلغاء", "بند کریں"),  # Arabic, Urdu
    *("parar", "pare", "sair", "cancelar", "baja", "alto", "detener", "no más", "no mas"),  # Portuguese, Spanish
    *("arrêt", "arret", "arrêter", "arreter", "desabonner", "désabonner", "stopp", "abmelden"),  # French, German
    *("berhenti", "стоп", "отписаться", "停止", "退订"),  # Indonesian, Russian, Chinese
)
#: And those who want them again.
START_WORDS: tuple[str, ...] = (
    *("start", "unstop", "subscribe", "resume", "opt in", "optin"),
    *("शुरू", "शुरू करें", "चालू करें", "shuru"),
    *("ابدأ", "ابدا", "استئناف", "شروع"),
    *("iniciar", "comenzar", "alta", "começar", "comecar", "voltar", "commencer", "reprendre", "anmelden"),
    *("mulai", "старт", "начать", "开始"),
)


class Wish(StrEnum):
    """What somebody wants who wrote one of the words."""

    STOP = "stop"
    START = "start"


@dataclass(frozen=True)
class WishWords:
    """The words in the form in which texts are compared. One that stands on both lists means stop."""

    stop: frozenset[str]
    start: frozenset[str]

    @classmethod
    def of(cls, stop: Iterable[str], start: Iterable[str]) -> Self:
        return cls(frozenset(filter(None, map(compared, stop))), frozenset(filter(None, map(compared, start))))

    def wish_in(self, text: str) -> tuple[Wish, str] | None:
        """The wish and the word, if the whole text is one; None for everything else that people write."""
        word = compared(text) if len(text) <= LONGEST_TEXT else ""
        if word in self.stop:
            return Wish.STOP, word
        return (Wish.START, word) if word in self.start else None


#: Nobody writes "stop" in more characters, whatever stands around it.
LONGEST_TEXT = 100
#: As much as is kept of a word.
LONGEST_WORD = 40
#: Around a word these mean nothing: punctuation, symbols (emoji), blanks, control and format characters…
_DRESSING = frozenset("PSZC")
#: …and what makes an emoji of a character. Other marks are letters' parts in the scripts of India.
_EMOJI_MARKS = frozenset("\ufe0e\ufe0f\u20e3")


def compared(text: str) -> str:
    """Give the form in which a word and a text are compared: without case, width, dressing and invisible characters.

    >>> compared("  *ＳＴＯＰ*!! 🛑")
    'stop'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    visible = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    begin, end = 0, len(visible)
    while begin < end and _is_dressing(visible[begin]):
        begin += 1
    while begin < end and _is_dressing(visible[end - 1]):
        end -= 1
    return " ".join(visible[begin:end].split())


def _is_dressing(character: str) -> bool:
    return character in _EMOJI_MARKS or unicodedata.category(character)[0] in _DRESSING


#: What stands in an answer's place to have none.
NO_ANSWER = frozenset({"", "off"})


def stop_answer(configured: str | None, start_words: Sequence[str]) -> str | None:
    """What is answered to who wants no more messages; None for nothing."""
    if configured is not None:
        return None if configured.strip().casefold() in NO_ANSWER else configured
    back = f" Reply {start_words[0].upper()} to get them again." if start_words else ""
    return f"You will get no more messages from us.{back}"


def start_answer(configured: str | None) -> str | None:
    """What is answered to who wants messages again; None for nothing, which is the default."""
    return None if configured is None or configured.strip().casefold() in NO_ANSWER else configured
