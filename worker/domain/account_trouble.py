"""What went wrong with a question of the personal access token, in a sentence for people, with what to do."""

from worker.domain.account import Problem, ProblemCode
from worker.domain.errors import GatewayTrouble

P = ProblemCode

_LATER = "WaSender gave no usable answer. Try again in a minute."
_SENTENCES = {
    P.UNREACHABLE: "WaSender cannot be reached. Check the network and WASENDER_BASE_URL.",
    P.TIMEOUT: "WaSender did not answer in time. Try again in a minute.",
    P.CONNECTION_LOST: "The connection to WaSender was lost. Try again in a minute.",
    P.SERVER_ERROR: _LATER,
    P.UNREADABLE_ANSWER: _LATER,
    P.THROTTLED: "WaSender asks to wait.",
    P.BAD_ACCESS_TOKEN: "WaSender refuses the personal access token. Copy a valid one from WaSender's settings into "
    "WASENDER_PERSONAL_ACCESS_TOKEN.",
    P.NO_SUBSCRIPTION: "The WaSender account has no active subscription. Renew it first.",
    P.UNKNOWN_SESSION: "The account of the personal access token has no such session any more.",
    P.WRONG_ADDRESS: "Nothing at WASENDER_BASE_URL answers this. It should be https://www.wasenderapi.com/api.",
    P.REFUSED: "WaSender refused.",
}


def trouble(problem: Problem, *, because: str = "") -> GatewayTrouble:
    """The problem as an error; `because` is said before it, such as what could not be done."""
    said = f' Its words: "{problem.detail}"' if problem.detail and problem.code is not P.UNREACHABLE else ""
    wait = f" Try again in {problem.retry_after_s:.0f} s." if problem.retry_after_s else ""
    sentence = f"{because} {_SENTENCES[problem.code]}{wait}{said}".strip()
    return GatewayTrouble(sentence, code=problem.code.value)
