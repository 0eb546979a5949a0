"""A typed client of the control API, for tests and demonstrations."""

from typing import Any, Self

from requests import RequestException, Session

from wasender_sandbox.records import LedgerEntry, SendRequest

#: A time: seconds, or a range such as "0.1-0.5" or (0.1, 0.5).
Seconds = float | str | tuple[float, float]


class SandboxError(Exception):
    """The sandbox refused a control request, or could not be reached; the text says why."""


class Sandbox:
    """Steers the sandbox at `base_url`, such as http://127.0.0.1:8900. Usable as a context manager."""

    def __init__(self, base_url: str, *, timeout_s: float = 10.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = Session()
        self._session.trust_env = False

    @property
    def api_url(self) -> str:
        """The base URL for a client of the WaSender API."""
        return f"{self.base_url}/api"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    # --- channels

    def create_channel(
        self,
        name: str,
        api_key: str | None = None,
        limit: str | None = "1/5",
        status: str = "connected",
        **options: Any,
    ) -> dict[str, Any]:
        """A new channel; returns its row with `id`, `api_key`, `webhook_secret`.

        `limit` is messages/seconds ("1/5", "256/60") or "none". Options: limit_mode (fixed, sliding, spacing),
        daily_cap, plan (paid, trial), phone_number, says, log_messages, webhook_url, webhook_secret,
        webhook_enabled, webhook_events, latency_before, latency_after.
        """
        body = {"name": name, "api_key": api_key, "limit": limit or "none", "status": status, **options}
        return self._post("channels", body)

    def change_channel(self, name: str, **options: Any) -> dict[str, Any]:
        """Change settings of a channel (the options of `create_channel`, and api_key); a new limit starts empty."""
        return self._post(f"channels/{name}", options)

    def delete_channel(self, name: str) -> None:
        self._call("DELETE", f"channels/{name}")

    def channels(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._call("GET", "channels")["channels"]
        return rows

    def channel(self, name: str) -> dict[str, Any]:
        """The row of one channel; SandboxError if there is none of that name."""
        row = next((row for row in self.channels() if row["name"] == name), None)
        if row is None:
            raise SandboxError(f"There is no channel named {name!r}.")
        return row

    # --- session states

    def set_status(self, name: str, status: str, *, quiet: bool = False, back_after_s: float | None = None) -> None:
        """Any session status, or up, down, banned, drop (connecting, then back). `quiet` fires no webhook."""
        body: dict[str, Any] = {"status": status, "quiet": quiet}
        if back_after_s is not None:
            body["back_after_s"] = back_after_s
        self._post(f"channels/{name}/status", body)

    def lie(self, name: str, says: str | None) -> None:
        """What `GET /status` and lists claim instead of the truth; None ends the lie."""
        self._post(f"channels/{name}/status", {"says": says})

    def scan(self, name: str) -> None:
        """Someone scans the QR code: connected."""
        self._post(f"channels/{name}/scan", {})

    def mute(self, name: str, on: bool = True, *, then: str | None = None) -> None:
        """Says connected, accepts, never ticks. `then`: later, failed or stuck, when it is unmuted."""
        self._post(f"channels/{name}/mute", {"on": on} | ({"then": then} if then else {}))

    def unmute(self, name: str) -> None:
        self.mute(name, False)

    def inbound(self, name: str, sender: str, text: str, *, as_lid: bool = False) -> str:
        """Someone writes to the channel; returns the key id of that message."""
        body = {"from": sender, "text": text, "as_lid": as_lid}
        return str(self._post(f"channels/{name}/inbound", body)["key_id"])

    # --- mischief

    def fault(
        self,
        kind: str,
        *,
        when: str | None = None,
        count: int | None = None,
        probability: float = 1.0,
        channel: str | None = None,
        recipient: str | None = None,
        text: str | None = None,
        endpoint: str = "send-message",
        status: int | None = None,
        seconds: Seconds | None = None,
        body: str = "",
        retry_after: int = 5,
    ) -> int:
        """Arm a fault and return its id. `count` None means until it is cleared; see `wasender_sandbox.faults`."""
        given = {
            "kind": kind,
            "when": when,
            "count": count,
            "probability": probability,
            "channel": channel,
            "recipient": recipient,
            "text": text,
            "endpoint": endpoint,
            "status": status,
            "seconds": seconds,
            "body": body,
            "retry_after": retry_after,
        }
        return int(self._post("faults", given)["id"])

    def clear_faults(self, fault_id: int | None = None) -> int:
        """Disarm one fault or all; returns how many."""
        path = "faults" if fault_id is None else f"faults/{fault_id}"
        return int(self._call("DELETE", path)["cleared"])

    def latency(
        self, *, before: Seconds | None = None, after: Seconds | None = None, channel: str | None = None
    ) -> None:
        """Time before and after the work of every send, of all channels or one; 0 takes it away."""
        self._post("latency", {"before": before, "after": after, "channel": channel})

    def webhooks(
        self,
        *,
        lost: float | None = None,
        doubled: float | None = None,
        reordered: float | None = None,
        early: float | None = None,
        delay: Seconds | None = None,
        channel: str | None = None,
    ) -> None:
        """Chances from 0 to 1 that an event gets lost, comes twice, late, or before the send's own answer."""
        given = {"lost": lost, "doubled": doubled, "reordered": reordered, "early": early, "delay": delay}
        body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._post("webhooks", body | ({"channel": channel} if channel else {}))

    def switch(self, name: str, value: object) -> None:
        """Set one switch; see `wasender_sandbox.switches` or `switches()`."""
        self._post("switches", {name: value})

    def switches(self) -> list[dict[str, Any]]:
        """All switches: name, value, default, choices, question, meaning."""
        rows: list[dict[str, Any]] = self._call("GET", "switches")["switches"]
        return rows

    def recipients(self, **rules: Any) -> dict[str, Any]:
        """Rules about test numbers, each a number or a list: not_on_whatsapp, fails_later, never_ticked,
        never_delivered, exists (takes them out again), not_on_whatsapp_prefixes, not_on_whatsapp_suffixes,
        not_on_whatsapp_pattern.
        """
        return self._post("recipients", rules)

    # --- records

    def ledger(
        self,
        *,
        channel: str | None = None,
        to: str | None = None,
        recipient: str | None = None,
        msg_id: int | None = None,
        text: str | None = None,
        acked: bool | None = None,
        after: int = -1,
    ) -> list[LedgerEntry]:
        """All accepted messages that match; `acked=True` for those WhatsApp has. `text`: contained in the text."""
        given = {"channel": channel, "to": to, "recipient": recipient, "msg_id": msg_id, "text": text}
        if acked is not None:
            given["acked"] = int(acked)
        return [LedgerEntry.from_json(row) for row in self._pages("ledger", given, after)]

    def requests(
        self,
        *,
        channel: str | None = None,
        to: str | None = None,
        decision: str | None = None,
        reason: str | None = None,
        after: int = -1,
    ) -> list[SendRequest]:
        """All POSTs to /send-message that match, in order of arrival."""
        given = {"channel": channel, "to": to, "decision": decision, "reason": reason}
        return [SendRequest.from_json(row) for row in self._pages("requests", given, after)]

    def state(self) -> dict[str, Any]:
        """Channels with counts, faults, switches, rules, webhook counts."""
        return self._call("GET", "state")

    def verdict(self) -> dict[str, Any]:
        """The run in numbers: acked, duplicates, rate_violations, spacing per channel."""
        return self._call("GET", "verdict")

    def rate_violations(self, channel: str | None = None) -> int:
        """POSTs answered 429 by the send limit."""
        row = self.state() if channel is None else self.channel(channel)
        return int(row["rate_violations"])

    def reset(self) -> None:
        """Back to an empty sandbox: no channels, messages, faults; all switches at their defaults."""
        self._post("reset", {})

    def is_alive(self) -> bool:
        try:
            return self._call("GET", "health")["ok"] is True
        except SandboxError:
            return False

    def _pages(self, path: str, given: dict[str, Any], after: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        query = {name: value for name, value in given.items() if value is not None}
        following: int | None = after
        while following is not None:
            page = self._call("GET", path, query={**query, "after": following})
            rows += page["rows"]
            following = page["next"]
        return rows

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", path, body=body)

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        url = f"{self.base_url}/_sandbox/{path}"
        try:
            answer = self._session.request(method, url, json=body, params=query, timeout=self._timeout_s)
            found: dict[str, Any] = answer.json()
        except (RequestException, ValueError) as error:
            raise SandboxError(f"No sandbox answers at {self.base_url}: {error}") from error
        if not answer.ok:
            raise SandboxError(str(found.get("error") or found.get("message") or f"HTTP {answer.status_code}"))
        return found
