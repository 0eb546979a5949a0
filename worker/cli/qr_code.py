"""Draws a QR code as text, two rows of it in one line: fit for dark and light terminals, and for a file."""

import sys
from itertools import zip_longest

import segno

#: Light modules around the code, which readers need to find it.
QUIET_ZONE = 4
#: Exactly black on exactly white, whatever colours the terminal's owner likes.
_INK, _PLAIN = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
#: What stands for an upper and a lower module, dark or not.
_BLOCKS = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def draw(text: str, *, coloured: bool, inverted: bool = False) -> list[str]:
    """The lines of a code that says `text`. Without colours the dark modules are ink, as on paper; `inverted` turns
    that round, for light letters on a dark ground.
    """
    code = segno.make(text, error="l", micro=False)
    rows = [[(module == 1) != (inverted and not coloured) for module in row] for row in _modules(code)]
    lines = [
        "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip_longest(rows[::2], rows[1::2], fillvalue=[inverted and not coloured] * len(rows[0]))
    ]
    return [f"{_INK}{line}{_PLAIN}" if coloured else line for line in lines]


def _modules(code: segno.QRCode) -> list[list[int]]:
    return [list(row) for row in code.matrix_iter(border=QUIET_ZONE)]


def can_be_shown() -> bool:
    """Does standard output take these characters at all?"""
    try:
        "█▀▄".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
