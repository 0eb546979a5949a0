"""The moves between message statuses as the design describes them, written down apart from the code."""

#: Each row a status, each column what it may become.
_TABLE = """
            queued sending accepted in_doubt sent delivered read failed expired cancelled
queued        -      x        x        -      x       x      x     x       x       x
sending       x      -        x        x      x       x      x     x       -       -
accepted      x      -        -        -      x       x      x     x       -       -
in_doubt      x      -        x        -      x       x      x     x       -       -
sent          -      -        -        -      -       x      x     -       -       -
delivered     -      -        -        -      -       -      x     -       -       -
read          -      -        -        -      -       -      -     -       -       -
failed        x      -        -        -      x       x      x     -       -       -
expired       -      -        -        -      x       x      x     -       -       -
cancelled     -      -        -        -      -       -      -     -       -       -
"""


def _moves() -> frozenset[tuple[str, str]]:
    header, *rows = _TABLE.strip().splitlines()
    states = header.split()
    marks = {row.split()[0]: row.split()[1:] for row in rows}
    assert list(marks) == states
    return frozenset(
        (before, after) for before in states for after, mark in zip(states, marks[before], strict=True) if mark == "x"
    )


LEGAL_MOVES = _moves()
STATES = tuple(_TABLE.split()[:10])
