"""The troubleshooting guide: what is going on when a check fails in a certain way, and what to do, step by step.

`docs/troubleshoot.md` tells the same story to whoever reads ahead of time. The most urgent entries stand first: what
keeps everything from going out, then what keeps one channel from it, then what only makes Truetick know less.
"""

from dataclasses import dataclass

from worker.diagnosis.judging_traffic import NUMBER_CODES
from worker.domain.channel_state import KEY_ROTATION
from worker.gateway.webhooks import EVENTS


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`cases` are the checks and codes that it is about; a code of None stands for all codes of its check.

    In the steps {name} is the channel.
    """

    title: str
    cases: tuple[tuple[str, str | None], ...]
    what_happens: str
    steps: tuple[str, ...]


#: Codes of findings that another finding explains, which has an entry of its own.
CONSEQUENCES = frozenset({"database", "key_refused", "account_not_read"})


def _of(checks: tuple[str, ...], *codes: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((check, code) for check in checks for code in codes)


_CHANNEL = ("session_connected", "sending_proven")
_KEY = ("api_key", "sending_proven")

GUIDE: tuple[Entry, ...] = (
    Entry(
        title="The database has no tables, or old ones",
        cases=_of(("database",), "no_database", "database_not_migrated"),
        what_happens="Nothing can be stored or sent. What CRMs enqueue by Celery waits in the broker, not lost.",
        steps=(
            "Run: truetick db upgrade (truetick up does it by itself).",
            "Check that DATABASE_URL is the same for every process, and restart them.",
        ),
    ),
    Entry(
        title="The database does not answer",
        cases=(("database", None),),
        what_happens="Nothing can be stored or sent. What CRMs enqueue by Celery waits in the broker, not lost.",
        steps=(
            "Start the database; look into its log, and whether its disk is full.",
            "Check DATABASE_URL and the network between this machine and the database.",
            "Nothing needs to be sent again: workers go on by themselves.",
        ),
    ),
    Entry(
        title="No worker runs",
        cases=_of(("workers",), "none", "silent"),
        what_happens="Messages are stored and wait; nobody sends them.",
        steps=(
            "Start a worker: truetick up (or celery -A worker worker).",
            "If one runs: does it have the same CELERY_BROKER_URL as this process? Its log says what it waits for.",
            "Then: truetick check",
        ),
    ),
    Entry(
        title="The broker is away, or takes nothing",
        cases=(("queue", "broker_away"), ("queue", "broker_read_only"), ("workers", "broker_away")),
        what_happens=(
            "CRMs cannot enqueue by Celery, and workers get no wake-ups. What is stored is not lost; what comes by "
            "HTTP is stored all the same."
        ),
        steps=(
            "Start Redis or Valkey; look into its log.",
            "Check CELERY_BROKER_URL: it has to be the same for CRMs, workers, beat and the web server.",
        ),
    ),
    Entry(
        title="The broker is full",
        cases=_of(("queue", "workers"), "broker_full", "nearly_full", "evicts"),
        what_happens="CRMs cannot enqueue by Celery (or their tasks are thrown away), and wake-ups get lost.",
        steps=(
            "Give it more memory (maxmemory), with maxmemory-policy noeviction.",
            "Look what fills it: other programs should have a broker, or a database number, of their own.",
        ),
    ),
    Entry(
        title="Tasks pile up in the broker",
        cases=(("queue", "piling_up"),),
        what_happens="They come in faster than workers take them, or no worker takes them.",
        steps=(
            "Is a worker alive? See the check of the workers.",
            "If all are busy storing a CRM's bulk, wait, or start another one.",
        ),
    ),
    Entry(
        title="Nobody checks the channels",
        cases=(("beat", None), ("sending_proven", "stale"), ("session_connected", "stale")),
        what_happens=(
            "The schedule stands still, so what is known of channels is old news, messages after an outage wait, and "
            "ticks are learnt from webhooks only."
        ),
        steps=(
            "Start beat: truetick up (or celery -A worker beat).",
            "If it runs: do workers answer, and can they reach the database and WaSender? Their logs say.",
        ),
    ),
    Entry(
        title="Parts of different releases run together",
        cases=(("workers", "versions_differ"),),
        what_happens="They may not understand each other's tables.",
        steps=("Stop everything.", "Run: truetick db upgrade", "Start every part of the same release."),
    ),
    Entry(
        title="There is no API key",
        cases=_of(("api_key", "sending_proven", "session_connected"), "no_api_key"),
        what_happens="Without the session's API key nothing can be sent.",
        steps=(
            "In WaSender, open the session and copy its API key.",
            "For the default channel: set WASENDER_API_KEY and restart. For another one: truetick channels add NAME",
        ),
    ),
    Entry(
        title="A channel's key is being replaced",
        cases=_of(_CHANNEL, KEY_ROTATION),
        what_happens=(
            "Messages wait until its new key is stored, which takes seconds. If it lasts, the rotation was "
            "interrupted, and the stored key may be dead."
        ),
        steps=(
            "Do it again: truetick channels rotate-key {name}",
            "Or copy the session's API key from WaSender: truetick channels set-key {name}, then "
            "truetick channels resume {name}",
        ),
    ),
    Entry(
        title="WaSender does not know the API key",
        cases=_of(_KEY, "bad_key"),
        what_happens="Every send is refused; messages wait. A key changes when a session is made anew.",
        steps=(
            "In WaSender, open the session and copy its API key.",
            "Channel default: set WASENDER_API_KEY and restart. Another one: truetick channels set-key {name}",
        ),
    ),
    Entry(
        title="A personal access token stands where the session's API key belongs",
        cases=_of(_KEY, "wrong_credential"),
        what_happens="Both are called keys, but only the session's own can send. Messages wait.",
        steps=(
            "In WaSender, open the session and copy its API key: 64 letters and digits, without a bar in it.",
            "Channel default: set WASENDER_API_KEY and restart. Another one: truetick channels set-key {name}",
            "The token itself, if you want to use one, belongs into WASENDER_PERSONAL_ACCESS_TOKEN.",
        ),
    ),
    Entry(
        title="The WaSender account has no subscription",
        cases=_of((*_KEY, "access_token"), "no_subscription"),
        what_happens="WaSender refuses to send; messages wait.",
        steps=(
            "Renew the plan in WaSender.",
            "Sending is tried again every ten minutes; at once with: truetick channels resume {name}",
        ),
    ),
    Entry(
        title="A channel's key cannot be decrypted",
        cases=_of(("api_key", "sending_proven"), "no_secret_key", "wrong_secret_key", "bad_secret_key"),
        what_happens="Channel keys are encrypted with TRUETICK_SECRET_KEY, which is missing here, or another one.",
        steps=(
            "Set TRUETICK_SECRET_KEY to the key that encrypted them, the same on every machine, and restart.",
            "If that key is lost, give each channel its API key anew: truetick channels set-key {name}",
        ),
    ),
    Entry(
        title="The address of WaSender is wrong",
        cases=_of(("api_reachable", "sending_proven", "access_token"), "wrong_gateway_address", "unreadable_answer"),
        what_happens="Something answers there, but it is not WaSender's API. Messages wait.",
        steps=(
            "Set WASENDER_BASE_URL to https://www.wasenderapi.com/api (or leave it out), and restart.",
            "Is there a proxy that answers in WaSender's place?",
            "Then, at once: truetick channels resume {name}",
        ),
    ),
    Entry(
        title="WaSender cannot be reached, or is in trouble itself",
        cases=(("api_reachable", None), ("sending_proven", "not_flowing"), ("api_key", "not_asked")),
        what_happens="Messages wait and go out by themselves; what may have gone out is looked up before.",
        steps=(
            "Does `curl -I https://www.wasenderapi.com` work on this machine? If not: network, DNS, firewall.",
            "If it does, WaSender has trouble: wait, and look at its own status.",
        ),
    ),
    Entry(
        title="The phone has unlinked the session",
        cases=_of(_CHANNEL, "need_scan", "logged_out", "expired", "need_passkey"),
        what_happens="WhatsApp takes nothing from this session until the phone is linked again. Messages wait.",
        steps=(
            "In WaSender, open the session of channel {name}, or here: truetick channels reconnect {name}",
            "On its phone: WhatsApp, Linked devices, Link a device; scan the QR code within 45 seconds.",
            "Within a minute the channel comes up by itself and sends; nothing needs to be sent again.",
        ),
    ),
    Entry(
        title="WaSender has lost the phone",
        cases=_of(_CHANNEL, "connecting", "disconnected", "error", "down", "coming_back"),
        what_happens="WaSender is reconnecting, or cannot. Messages wait.",
        steps=(
            "Wait five minutes: most of the time it mends itself.",
            "Is the phone switched on and online? WhatsApp needs it every two weeks.",
            "If it lasts, restart the session in WaSender; then unlink and link the phone anew.",
        ),
    ),
    Entry(
        title="WaSender says connected, but nothing gets through",
        cases=_of(("sending_proven",), "no_ticks", "mute", "refuses_sends", "connected_again"),
        what_happens=(
            "The session behind the API is gone although its status is green. Truetick has stopped before more "
            "messages are swallowed, and tries single ones; the first tick ends it."
        ),
        steps=(
            "Restart the session in WaSender (with a personal access token Truetick has done so already).",
            "If that does not help: unlink it on the phone, and link it anew by QR code.",
            "What was swallowed meanwhile: truetick outages --open",
        ),
    ),
    Entry(
        title="A message has been without a tick for too long",
        cases=(("sending_proven", "awaiting_tick"),),
        what_happens="Either its recipient is the reason, or the session is about to turn out dead.",
        steps=(
            "Prove it: truetick check --channel {name} --test-to NUMBER, with a phone of your own.",
            "Wait two minutes: then Truetick knows whether the channel is mute.",
        ),
    ),
    Entry(
        title="A person has paused the channel",
        cases=_of(_CHANNEL, "paused"),
        what_happens="Messages wait until it is resumed.",
        steps=("Ask who paused it and why.", "Let it go on with: truetick channels resume {name}"),
    ),
    Entry(
        title="Sending is not proven, though nothing speaks against it",
        cases=_of(("sending_proven",), "never_proven", "old_proof", "unknown"),
        what_happens="WaSender's word alone proves nothing; WhatsApp has ticked nothing of this channel lately.",
        steps=("Send a test message to a phone of your own: truetick check --channel {name} --test-to NUMBER",),
    ),
    Entry(
        title="Numbers of the CRM cannot be used",
        cases=_of(("number_format",), *NUMBER_CODES),
        what_happens="Such messages fail at once and are not sent; a number is never guessed.",
        steps=(
            "See which and why: truetick messages --status failed; then truetick why ID",
            "Numbers of one country, without its code: set DEFAULT_REGION to its two letters (IN, AE, GB…), restart.",
            "Numbers of several countries: the CRM has to write + and the country code.",
        ),
    ),
    Entry(
        title="The pace is faster than WaSender allows",
        cases=(("limits", None),),
        what_happens="WaSender refuses messages as too many; too many of that can get a number restricted.",
        steps=(
            "With account protection: TRUETICK_PACE=1/5. Without: 256/60 at the most. On trial: 1/60, daily cap 50.",
            "Channel default: then restart the workers. Another one: truetick channels set-pace {name} 1/5",
        ),
    ),
    Entry(
        title="Clocks disagree",
        cases=(("clock", None),),
        what_happens="Waits and expiry times are off, and WaSender's logs cannot be matched with our messages.",
        steps=("Switch NTP on, on every machine (timedatectl).", "Restart the workers."),
    ),
    Entry(
        title="An outage goes on, or messages wait for a person",
        cases=(("backlog", None),),
        what_happens="Messages that are not ticked are kept; none is sent twice without a reason.",
        steps=(
            "Outages: truetick outages --open",
            "Messages that wait for a person: truetick messages --status pending; truetick why ID says what to do.",
        ),
    ),
    Entry(
        title="Webhooks do not come",
        cases=(("webhooks", None),),
        what_happens="Ticks are asked for instead, which takes some seconds longer. Nothing gets lost by that.",
        steps=(
            "In WaSender: address https://YOUR-HOST/webhooks/wasender/{name}, enabled, with the same secret as here "
            "(WASENDER_WEBHOOK_SECRET, or by: truetick channels set-webhook-secret {name}).",
            f"Events: {', '.join(EVENTS)}.",
            "Is the address reachable from outside, with a valid certificate? It has to answer POST without a secret "
            "with 401.",
        ),
    ),
    Entry(
        title="WaSender does not log messages",
        cases=(("message_logging", None),),
        what_happens="Where nobody knows whether a message went out, it cannot be looked up; a person has to decide.",
        steps=('In WaSender, switch on "log messages" for the session.',),
    ),
    Entry(
        title="The personal access token does not work",
        cases=(("access_token", None),),
        what_happens="Sending does not need it; restarting mute sessions and looking into WaSender's logs does.",
        steps=(
            "In WaSender's settings, make a personal access token (digits, a bar, letters).",
            "Set WASENDER_PERSONAL_ACCESS_TOKEN to it and restart the workers.",
        ),
    ),
    Entry(
        title="Something else is wrong",
        cases=(),
        what_happens="It is not one of the known cases; the evidence beside it tells what is known.",
        steps=(
            "Do what its remedy says.",
            "Look at the session in WaSender and link the phone again.",
            "truetick status",
        ),
    ),
)


def entry_for(check: str, code: str) -> tuple[int, Entry]:
    """The entry about this case, and its place, which is its urgency: the one that names it, else its check's.

    What nobody thought of has the last one.
    """
    for place, entry in enumerate(GUIDE):
        if (check, code) in entry.cases:
            return place, entry
    of_check = (pair for pair in enumerate(GUIDE) if (check, None) in pair[1].cases)
    return next(of_check, (len(GUIDE) - 1, GUIDE[-1]))
