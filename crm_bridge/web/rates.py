"""How often the API may be used: so many requests within any minute, counted for each key (without one: address)."""

import ipaddress
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from crm_bridge.web.problems import Problem


class Rates:
    """Counts in this process's memory. Weakness: processes side by side count each for itself."""

    def __init__(self, per_minute: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(per_minute)

    def count(self, who: str) -> None:
        """One request more. Raises Problem (429) where it is one too many; such a one is not counted."""
        if not self._limiter.hit(self._limit, who):
            self._refuse(who)

    def require_room(self, who: str) -> None:
        """Raises Problem (429) where one request more would be too many, and counts none."""
        if not self._limiter.test(self._limit, who):
            self._refuse(who)

    def _refuse(self, who: str) -> None:
        opens_at = self._limiter.get_window_stats(self._limit, who).reset_time
        wait_s = max(1, math.ceil(opens_at - time.time()))
        raise Problem(
            429,
            "too_many_requests",
            f"More than {self._limit.amount} requests came within a minute. Wait {wait_s} s; to hand over many "
            "messages use POST /api/messages/bulk. The limit is TRUETICK_REQUESTS_PER_MINUTE.",
            Retry_After=str(wait_s),
        )


def address_of(remote: str | None) -> str:
    """Who an address stands for; one customer has a whole /64 of IPv6."""
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return "address:unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"address:{ipaddress.ip_network((int(address) >> 64 << 64, 64))}"
        return f"address:{address.ipv4_mapped}"
    return f"address:{address}"
