"""Every way in which the API refuses: statuses, what each means, and the stable codes that come with it."""

from dataclasses import dataclass

#: What the number of a recipient can be wrong by.
NUMBER_CODES = (
    *("broadcast", "empty", "extension", "invalid_number", "lid", "malformed_jid", "missing_country_code"),
    *("not_a_number", "several_numbers", "too_long", "too_short", "unassigned", "unknown_country_code"),
    *("unknown_region", "unreachable_type", "username"),
)
#: What a file, or a message that names one, can be wrong by.
MEDIA_CODES = ("empty_file", "media_mismatch", "media_too_large", "unknown_media", "wrong_media_kind")


@dataclass(frozen=True)
class Refusal:
    because: str
    codes: tuple[str, ...]


REFUSALS = {
    400: Refusal(
        "The body is not JSON, or not a plain object.",
        ("bad_json", "bad_request", "bad_webhook", "duplicate_field", "not_an_object", "too_deep"),
    ),
    401: Refusal(
        "The API key (of a webhook: the webhook secret) is missing, wrong, or opens nothing any more.",
        ("expired_api_key", "no_api_key", "revoked_api_key", "wrong_api_key", "wrong_webhook_secret"),
    ),
    403: Refusal("The key does not open this; `detail` names the scope that does.", ("missing_scope",)),
    404: Refusal("There is no such message, channel or address.", ("not_found", "unknown_channel", "unknown_route")),
    405: Refusal("The address does not take this method.", ("method_not_allowed",)),
    409: Refusal(
        "It does not fit what there is: the id or idempotency key was used for something else, or the message or "
        "channel is in a state that does not allow it.",
        (
            *("cannot_cancel", "cannot_resend", "conflict", "key_rotation"),
            *("no_access_token", "opted_out", "unknown_session"),
        ),
    ),
    413: Refusal("The body is too large.", ("too_large",)),
    414: Refusal("The address with its parameters is too long.", ("address_too_long",)),
    415: Refusal(
        "The body is not sent as application/json; of a file: it is of a type that WhatsApp does not take.",
        ("unsupported_media_type", "wrong_content_type"),
    ),
    422: Refusal(
        "The request, a parameter or the number cannot be used; `code` says which kind of wrong.",
        (
            *("ahead_of_feed", "bad_characters", "bad_cursor", "bad_idempotency_key", "bad_message_id"),
            *("bad_parameter", "expired", "invalid_request", "too_many_messages", "two_idempotency_keys"),
            *("unknown_channel", "unknown_parameter", "unknown_pool"),
            *("bad_placeholder", "missing_value", "opted_out"),
            *MEDIA_CODES,
            *("reply_to_another_channel", "reply_to_another_recipient", "unknown_reply_to"),
            *NUMBER_CODES,
        ),
    ),
    429: Refusal(
        "Too many requests within a minute with this key (without one: from this address). Try again after "
        "Retry-After seconds.",
        ("too_many_requests", "too_many_test_messages"),
    ),
    431: Refusal("The headers are too long.", ("headers_too_long",)),
    500: Refusal("Something broke on this side.", ("internal_error",)),
    502: Refusal(
        "WaSender did not do what was asked; `code` says why.",
        (
            *("bad_access_token", "connection_lost", "gateway_error", "gateway_refused", "gateway_unreachable"),
            *("no_subscription", "throttled", "timeout", "unreadable_answer", "wrong_gateway_address"),
            "unknown_session",
        ),
    ),
    503: Refusal(
        "The database does not answer, too much is being asked of WaSender, or no API key (or webhook secret) is "
        "configured. Try again after Retry-After seconds.",
        (
            *("busy", "database_away", "database_not_migrated", "diagnosis_took_too_long"),
            *("no_api_key_configured", "not_ready"),
            *("webhook_secret_missing", "webhook_secret_unusable"),
        ),
    ),
}
