"""Judges what goes in and what comes back: are phone numbers understood, do webhooks arrive?"""

from dataclasses import replace

import phonenumbers

from worker.diagnosis.facts import Facts, Subject, Trouble
from worker.diagnosis.finding import Finding, Verdict, general, on
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.domain.durations import lasting
from worker.domain.webhook_meter import STOPPED_AFTER, STOPPED_SENTENCE, Webhooks
from worker.gateway.webhooks import EVENTS

V = Verdict

#: What a number can be refused for, in words. Source: `worker.domain.phone`, and WaSender's own refusals.
NUMBER_CODES = {
    "empty": "empty",
    "not_a_number": "no number at all",
    "too_short": "too few digits",
    "too_long": "too many digits",
    "unassigned": "assigned to nobody",
    "unreachable_type": "not reachable by WhatsApp",
    "missing_country_code": "country code missing",
    "unknown_country_code": "unknown country code",
    "unknown_region": "unknown region",
    "several_numbers": "several numbers in one",
    "extension": "with an extension",
    "lid": "a LID",
    "broadcast": "a broadcast list",
    "username": "a user name",
    "malformed_jid": "a malformed JID",
    "malformed_recipient": "refused by WaSender",
}
NOT_ON_WHATSAPP = "not_on_whatsapp"
#: So many refusals, and such a share of all, are no typing errors any more.
MANY, MUCH = 5, 0.1


def number_format(facts: Facts) -> Finding:
    region = facts.settings.default_region
    code = phonenumbers.country_code_for_region(region)
    reads = f"Numbers without a country code are read as those of {region} (+{code})."
    if isinstance(facts.database, Trouble):
        said = f"{reads} What was refused cannot be read."
        return general("number_format", V.UNVERIFIED, "database", said, "Mend the database first: see its own check.")
    look = facts.database
    wrong = {code: look.refused[code] for code in NUMBER_CODES if code in look.refused}
    if not look.newest or look.newest_since is None:
        return general("number_format", V.OK, "understood", f"{reads} There was no message in the last day.")
    since = lasting(facts.now - look.newest_since)
    if not wrong:
        absent = look.refused.get(NOT_ON_WHATSAPP, 0)
        besides = f" {absent} had no WhatsApp." if absent else ""
        said = f"{reads} All numbers of the latest {_messages(look.newest)} ({since}) were understood.{besides}"
        return general("number_format", V.OK, "understood", said)
    total = sum(wrong.values())
    kinds = ", ".join(f"{count} {NUMBER_CODES[code]}" for code, count in sorted(wrong.items(), key=_most))
    said = f"{reads} Of the latest {_messages(look.newest)} ({since}) {total} had an unusable number: {kinds}."
    many = total >= MANY and total >= MUCH * look.newest
    return general(
        "number_format",
        V.FAILED if many else V.OK,
        max(wrong, key=lambda code: wrong[code]) if many else "understood",
        said,
        "See which: truetick messages --status failed. If the numbers lack their country code and are not of "
        f"{region}, set DEFAULT_REGION or write them with + and the code; else correct them in the CRM.",
    )


def webhooks(subject: Subject, facts: Facts) -> Finding:
    if subject.facts is None:
        said = "Nothing that is stored about this channel can be read yet."
        advice = "See the checks of the database and of the workers."
        return on(subject.name, "webhooks", V.UNVERIFIED, "unknown", said, advice)
    standing = subject.facts.standing
    last, tick = standing.last_webhook_at, standing.last_tick_at
    if subject.webhook_secret_unusable and standing.webhooks is not Webhooks.ARRIVING:
        return _undecryptable(subject, V.UNVERIFIED if tick is None else V.FAILED)
    if last is None:
        return _never(subject, facts)
    ago = f"The last one came {lasting(facts.now - last)} ago."
    if standing.webhooks is Webhooks.STOPPED:
        return on(subject.name, "webhooks", V.FAILED, "stopped", f"{ago} Ticks have come since.", STOPPED_SENTENCE)
    quiet = facts.now - last > STOPPED_AFTER and (tick is None or tick <= last)
    said = f"{ago} Nothing has happened since that one would tell of." if quiet else ago
    return replace(on(subject.name, "webhooks", V.OK, "arriving", said), evidence_at=last)


def _undecryptable(subject: Subject, verdict: V) -> Finding:
    said = "None comes, and the channel's webhook secret cannot be decrypted here; where it cannot, all are refused."
    advice = (
        "Set TRUETICK_SECRET_KEY to the key that encrypted it, the same on every machine, or store the secret anew: "
        f"truetick channels set-webhook-secret {subject.name}"
    )
    return on(subject.name, "webhooks", verdict, "secret_unusable", said, advice)


def _never(subject: Subject, facts: Facts) -> Finding:
    assert subject.facts is not None
    sealed = subject.facts.row.webhook_secret_encrypted
    environment = subject.name == DEFAULT_CHANNEL and facts.settings.gateway_webhook_secret is not None
    if sealed is None and not environment:
        said = (
            "They are not set up (no webhook secret), so all that come are refused. They are optional: ticks are "
            "asked for instead, a bit later."
        )
        return on(subject.name, "webhooks", V.SKIPPED, "not_set_up", said)
    advice = (
        "In WaSender, give the session the address https://YOUR-HOST/webhooks/wasender/"
        f"{subject.name}, the same secret, and the events {', '.join(EVENTS)}. "
        "Is the address reachable from outside?"
    )
    if subject.facts.standing.last_tick_at is None:
        said = "None has come yet, but nothing has happened either that one would tell of."
        return on(subject.name, "webhooks", V.UNVERIFIED, "none_yet", said, advice)
    said = "A secret is set, and ticks were learnt by asking, but no webhook has ever come."
    return on(subject.name, "webhooks", V.FAILED, "never", said, advice)


def _most(item: tuple[str, int]) -> int:
    return -item[1]


def _messages(count: int) -> str:
    return "message" if count == 1 else f"{count:,} messages"
