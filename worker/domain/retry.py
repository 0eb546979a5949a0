"""How long to wait after trouble: exponential, bounded, without randomness of its own."""


def backoff_s(failures: int, *, first_s: float, most_s: float) -> float:
    """Seconds to wait after `failures` failures in a row (0 means none: no wait)."""
    if failures <= 0:
        return 0.0
    return min(most_s, first_s * 2.0 ** min(failures - 1, 32))
