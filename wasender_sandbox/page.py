"""The sandbox's page at `/`: what it is, its channels with buttons, the newest messages. Plain forms, no scripts."""

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from aiohttp import web

from wasender_sandbox.channels import Channel
from wasender_sandbox.gateway import Gateway
from wasender_sandbox.ledger import STATUS_WORDS, Entry
from wasender_sandbox.recipients import mask

#: Messages shown.
NEWEST = 30

TICKS = {0: "✕", 1: "◷", 2: "✓", 3: "✓✓", 4: "✓✓", 5: "✓✓"}

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --good: #137a4b;
  --bad: #b3261e; --warn: #8a5a00; --read: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --good: #5fd39b; --bad: #ff8a80; --warn: #f2c14e; --read: #7cc0ff; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.note { color: var(--warn); font-weight: 600; margin: .25rem 0 0; }
.muted { opacity: .7; }
.channels { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.channel { border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem; }
.channel h3 { margin: 0; font-size: 1rem; display: flex; justify-content: space-between; gap: .5rem; }
.channel p { margin: .25rem 0 .6rem; font-size: .9rem; }
.up { color: var(--good); } .down { color: var(--bad); } .mute { color: var(--warn); } .read { color: var(--read); }
form { display: inline; }
button { font: inherit; font-size: .9rem; padding: .35rem .7rem; border: 1px solid var(--line);
  border-radius: .4rem; background: transparent; color: inherit; cursor: pointer; margin: 0 .25rem .25rem 0; }
button:hover { border-color: currentColor; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }
th, td { white-space: nowrap; }
td.text { white-space: normal; min-width: 10rem; }
code { font-size: .9em; }
"""


class Page:
    """Renders the page and carries out its buttons; every button is a form that answers with a redirect."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        lifecycle = gateway.lifecycle
        self._actions: dict[str, Callable[[Channel], None]] = {
            "scan": lifecycle.scan,
            "up": lambda channel: lifecycle.set_status(channel, "connected"),
            "down": lambda channel: lifecycle.set_status(channel, "need_scan"),
            "mute": lambda channel: lifecycle.mute(channel, True),
            "unmute": lambda channel: lifecycle.mute(channel, False),
        }

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self.show), web.post("/act/{name}/{action}", self.act)]

    async def show(self, request: web.Request) -> web.Response:
        return web.Response(text=self._render(live="live" in request.query), content_type="text/html")

    async def act(self, request: web.Request) -> web.Response:
        channel = self._gateway.world.channels.get(request.match_info["name"])
        action = self._actions.get(request.match_info["action"])
        if channel is None or action is None:
            raise web.HTTPNotFound
        action(channel)
        raise web.HTTPSeeOther("/")

    def _render(self, *, live: bool) -> str:
        world = self._gateway.world
        refresh = '<meta http-equiv="refresh" content="3">' if live else ""
        switch = '<a href="/">stop</a>' if live else '<a href="/?live">every 3 seconds</a>'
        cards = "".join(map(_card, world.channels.values()))
        cards = cards or "<p>None yet. Create one with the control API or <code>--channel</code>.</p>"
        rows = "".join(map(_row, reversed(world.ledger.entries[-NEWEST:])))
        rows = rows or '<tr><td colspan="5">Nothing was sent yet.</td></tr>'
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"{refresh}<title>WaSender sandbox</title><style>{STYLE}</style></head><body>"
            "<h1>WaSender sandbox</h1>"
            '<p class="note">This is a sandbox WaSender; nothing here reaches WhatsApp.</p>'
            "<p>It answers like the WaSender API and plays WhatsApp behind it: it accepts messages, ticks them, and "
            "misbehaves on request. Point a client at "
            f"<code>{escape(world.origin)}/api</code>; steer it with <code>python -m wasender_sandbox --help</code>."
            "</p>"
            f"<h2>Channels</h2><div class='channels'>{cards}</div>"
            f"<h2>Newest messages</h2><p class='muted'>{len(world.ledger.entries)} accepted, "
            f"{world.ledger.acked} with WhatsApp, {world.attempts.rate_violations()} refused as too fast. "
            f"<a href=''>Refresh</a> · {switch}</p>"
            "<div class='scroll'><table><thead><tr><th>Accepted (UTC)</th><th>Channel</th><th>To</th>"
            f"<th>Message</th><th>State</th></tr></thead><tbody>{rows}</tbody></table></div>"
            "</body></html>"
        )


def _card(channel: Channel) -> str:
    tone = "mute" if channel.muted else "up" if channel.connected else "down"
    word = channel.status.replace("_", " ") + (", mute" if channel.muted else "")
    says = f" · says {escape(channel.says)}" if channel.says else ""
    limit = str(channel.limit).replace("/", " per ") + " s" if channel.limit else "no limit"
    buttons = [_button(channel, "unmute", "Unmute") if channel.muted else _button(channel, "mute", "Mute")]
    if channel.connected:
        buttons.append(_button(channel, "down", "Take down"))
    else:
        scan = channel.status in {"need_scan", "logged_out", "expired", "need_passkey"}
        buttons.insert(0, _button(channel, "scan", "Scan QR") if scan else _button(channel, "up", "Connect"))
    return (
        f"<div class='channel'><h3>{escape(channel.name)}<span class='{tone}'>{escape(word)}</span></h3>"
        f"<p class='muted'>{escape(mask(channel.phone_number))} · {limit}{says}<br>"
        f"{len(channel.entries)} accepted, {channel.acked} ticked, {len(channel.held)} held back</p>"
        f"{''.join(buttons)}</div>"
    )


def _button(channel: Channel, action: str, label: str) -> str:
    target = f"/act/{quote(channel.name, safe='')}/{action}"
    return f"<form method='post' action='{target}'><button>{label}</button></form>"


def _row(entry: Entry) -> str:
    moment = datetime.fromtimestamp(entry.received_at, UTC).strftime("%H:%M:%S")
    tone = {0: "down", 4: "read", 5: "read"}.get(entry.status, "")
    shown = (entry.text or entry.kind)[:80]
    return (
        f"<tr><td>{moment}</td><td>{escape(entry.channel)}</td><td>{escape(mask(entry.recipient))}</td>"
        f"<td class='text'>{escape(shown)}</td>"
        f"<td class='{tone}'>{TICKS[entry.status]} {STATUS_WORDS[entry.status]}</td></tr>"
    )
