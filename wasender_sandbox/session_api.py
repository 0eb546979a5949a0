"""`/whatsapp-sessions…` with the personal access token: CRUD, connect, QR code, restart, disconnect, new key."""

import secrets
from typing import Any

from aiohttp import web

from wasender_sandbox import access, replies
from wasender_sandbox.channels import ACCOUNT_PROTECTION, PAID, Channel
from wasender_sandbox.clock import iso
from wasender_sandbox.errors import ControlError
from wasender_sandbox.json_body import read_object
from wasender_sandbox.lifecycle import Lifecycle
from wasender_sandbox.world import World

#: Sessions an account may have.
SESSION_LIMIT = 1000

#: Settings that are kept and shown, and change nothing here.
KEPT = (
    "read_incoming_messages",
    "auto_reject_calls",
    "ignore_groups",
    "ignore_channels",
    "ignore_broadcasts",
    "always_online",
    "proxy_url",
)

NEEDS_SUBSCRIPTION = "You need to have an active subscription to connect a WhatsApp session."


class SessionApi:
    """Sessions as the account sees them. `/qr-code` and `/regenerate-api-key` are the official Python SDK's paths;
    the documentation has `/qrcode` and `/regenerate-key`.
    """

    def __init__(self, world: World, lifecycle: Lifecycle) -> None:
        self._world = world
        self._lifecycle = lifecycle

    def routes(self) -> list[web.RouteDef]:
        one = "/api/whatsapp-sessions/{session_id}"
        return [
            web.get("/api/auth-check", self.auth_check, allow_head=False),
            web.get("/api/whatsapp-sessions", self.list_sessions, allow_head=False),
            web.post("/api/whatsapp-sessions", self.create_session),
            web.get(one, self.show_session, allow_head=False),
            web.put(one, self.update_session),
            web.delete(one, self.delete_session),
            web.post(f"{one}/connect", self.connect),
            web.get(f"{one}/qrcode", self.qrcode, allow_head=False),
            web.get(f"{one}/qr-code", self.qrcode, allow_head=False),
            web.post(f"{one}/disconnect", self.disconnect),
            web.post(f"{one}/restart", self.restart),
            web.post(f"{one}/regenerate-key", self.regenerate_key),
            web.post(f"{one}/regenerate-api-key", self.regenerate_key),
        ]

    async def auth_check(self, request: web.Request) -> web.Response:
        return access.account_refusal(self._world, request) or replies.ok({"authenticated": True})

    async def list_sessions(self, request: web.Request) -> web.Response:
        refusal = access.account_refusal(self._world, request)
        if refusal is not None:
            return refusal
        upper = self._world.switches.list_status_case == "upper"
        rows = [self._session(channel) for channel in self._world.channels.values()]
        for row in rows:
            row["status"] = row["status"].upper() if upper else row["status"]
        return replies.ok(rows)

    async def create_session(self, request: web.Request) -> web.Response:
        """A new session is disconnected until it is connected and scanned."""
        refusal = access.account_refusal(self._world, request)
        if refusal is not None:
            return refusal
        body = await read_object(request)
        required = ("name", "phone_number", "account_protection", "log_messages")
        errors = {
            name: [f"The {name.replace('_', ' ')} field is required."] for name in required if body.get(name) is None
        }
        if errors:
            return replies.framework("Validation failed", 422, errors=errors)
        if len(self._world.channels) >= SESSION_LIMIT:
            text = "You have reached your WhatsApp session limit. Please upgrade your plan to add more sessions."
            return replies.controller(text, 403)
        try:
            channel = self._world.add_channel(str(body["name"]), None, str(body["phone_number"]))
        except ControlError as error:
            return replies.framework("Validation failed", 422, errors={"name": [str(error)]})
        channel.status = "disconnected"
        channel.set_limit(PAID)
        self._apply(channel, body)
        channel.record("session_created", self._world.gateway_now())
        return replies.bare({"success": True, "data": self._session(channel)}, 201)

    async def show_session(self, request: web.Request) -> web.Response:
        channel = self._find(request)
        return channel if isinstance(channel, web.Response) else replies.ok(self._session(channel))

    async def update_session(self, request: web.Request) -> web.Response:
        """Any subset of the settings; a `warning` beside the data when the live node did not take them."""
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        body = await read_object(request)
        self._apply(channel, body)
        channel.updated_at = self._world.gateway_now()
        answer: dict[str, object] = {"success": True, "data": self._session(channel)}
        chance = self._world.switches.webhook_sync_warning
        if any(name.startswith("webhook") for name in body) and self._world.rng.random() < chance:
            answer["warning"] = "WhatsApp session updated but failed to sync webhook settings: timeout"
        return replies.bare(answer)

    async def delete_session(self, request: web.Request) -> web.Response:
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        self._lifecycle.set_status(channel, "disconnected")
        self._world.remove_channel(channel)
        if self._world.switches.delete_http_status == 200:
            return replies.bare({"success": True})
        return web.Response(status=204)

    async def connect(self, request: web.Request) -> web.Response:
        """NEED_SCAN with a QR text, NEED_PASSKEY, or CONNECTED when there is nothing to do."""
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        if not self._world.switches.subscription_active:
            return replies.controller(NEEDS_SUBSCRIPTION, 403)
        if channel.status in {"connected", "connecting"}:
            text = "Session already initialized or connecting. No QR code needed."
            return replies.ok({"status": "CONNECTED", "message": text})
        if (await read_object(request)).get("linkMethod") == "passkey":
            self._lifecycle.set_status(channel, "need_passkey")
            expires = iso(self._world.gateway_now() + 300)
            passkey = {"token": secrets.token_urlsafe(24), "expires_at": expires}
            return replies.ok({"status": "NEED_PASSKEY", "passkey": passkey})
        self._lifecycle.set_status(channel, "need_scan")
        return replies.ok({"status": "NEED_SCAN", "qrCode": self._lifecycle.fresh_qr(channel)})

    async def qrcode(self, request: web.Request) -> web.Response:
        """A fresh QR text each time; `qr_code` is there for the SDK, which reads no other name."""
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        if not self._world.switches.subscription_active:
            return replies.controller(NEEDS_SUBSCRIPTION, 403)
        if channel.status != "need_scan":
            return replies.controller("WhatsApp session is not initialized. Connect it first.", 400)
        text = self._lifecycle.fresh_qr(channel)
        sdk = {"qr_code": text} if request.path.endswith("/qr-code") else {}
        return replies.ok({"qrCode": text, **sdk})

    async def disconnect(self, request: web.Request) -> web.Response:
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        unlinks = self._world.switches.disconnect_unlinks
        self._lifecycle.set_status(channel, "logged_out" if unlinks else "disconnected")
        text = "WhatsApp session disconnected successfully"
        return replies.ok({"status": "disconnected", "message": text})

    async def restart(self, request: web.Request) -> web.Response:
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        if not channel.connected:
            return replies.controller("WhatsApp session is not connected. Cannot restart.", 400)
        self._lifecycle.restart(channel)
        return replies.bare({"success": True, "message": "WhatsApp session restarted successfully."})

    async def regenerate_key(self, request: web.Request) -> web.Response:
        """A new key at top level; the old one dies at once, unless switched."""
        channel = self._find(request)
        if isinstance(channel, web.Response):
            return channel
        self._world.change_key(channel, secrets.token_hex(32))
        return replies.bare({"success": True, "api_key": channel.api_key})

    def _find(self, request: web.Request) -> Channel | web.Response:
        refusal = access.account_refusal(self._world, request)
        if refusal is not None:
            return refusal
        raw = request.match_info["session_id"]
        channel = self._world.channel_by_id(int(raw)) if raw.isdecimal() else None
        return channel or replies.controller("WhatsApp session not found.", 404)

    def _apply(self, channel: Channel, body: dict[str, Any]) -> None:
        if isinstance(body.get("phone_number"), str):
            channel.phone_number = body["phone_number"]
        if body.get("account_protection") is not None:
            protected = bool(body["account_protection"])
            if protected != channel.account_protection:
                channel.set_limit(ACCOUNT_PROTECTION if protected else PAID)
            channel.account_protection = protected
        if body.get("log_messages") is not None:
            channel.log_messages = bool(body["log_messages"])
        if "webhook_url" in body:
            channel.webhook_url = body["webhook_url"] or None
        if body.get("webhook_enabled") is not None:
            channel.webhook_enabled = bool(body["webhook_enabled"])
        if "webhook_events" in body:
            channel.webhook_events = body["webhook_events"]
        channel.settings.update({name: body[name] for name in KEPT if name in body})

    def _session(self, channel: Channel) -> dict[str, Any]:
        """The documented session object."""
        session: dict[str, Any] = {
            "id": channel.id,
            "name": channel.name,
            "phone_number": channel.phone_number,
            "status": channel.claimed_status,
            "account_protection": channel.account_protection,
            "log_messages": channel.log_messages,
            "read_incoming_messages": bool(channel.settings.get("read_incoming_messages", False)),
            "webhook_url": channel.webhook_url,
            "webhook_enabled": channel.webhook_enabled and channel.webhook_url is not None,
            "webhook_events": channel.webhook_events,
            "api_key": channel.api_key,
            "webhook_secret": channel.webhook_secret,
            "created_at": iso(channel.created_at),
            "updated_at": iso(channel.updated_at),
        }
        if self._world.switches.sdk_session_fields:
            session |= {"user_id": 1, "session_data": {}, "last_active_at": iso(channel.updated_at)}
        return session
