"""The usual names of a CRM's columns, and its words for statuses."""

from worker.table_file import NUMBER_COLUMNS

#: How columns are called, in the order in which they are believed.
LIKELY = {
    "id": ("message_id", "truetick_id", "truetick_message_id", "id", "uuid"),
    "ref": ("crm_ref", "ref", "reference", "external_id"),
    "to": NUMBER_COLUMNS,
    "text": ("text", "message", "body", "content", "message_text"),
    "time": ("time", "sent_at", "sent", "created_at", "timestamp", "date", "datetime", "date_time", "sent_time"),
    "status": ("status", "state", "delivery_status", "message_status"),
}
#: Other systems' words for what we call by the name on the left.
_WORDS = {
    "pending": (
        "queued",
        "new",
        "created",
        "scheduled",
        "waiting",
        "processing",
        "in_progress",
        "accepted",
        "sending",
    ),
    "sent": ("ok", "success", "successful", "done", "submitted", "completed"),
    "delivered": ("received",),
    "read": ("seen", "opened", "played", "viewed"),
    "failed": ("error", "undelivered", "rejected", "bounced", "failure", "not_sent"),
    "expired": ("timeout", "timed_out"),
    "cancelled": ("canceled", "aborted", "withdrawn"),
}
STATUS_OF_WORD = {word: status for status, words in _WORDS.items() for word in (status, *words)}
#: What the columns hold, for people.
WHAT = {
    "id": "the message's id",
    "ref": "the CRM's reference",
    "to": "the numbers",
    "text": "the texts",
    "time": "the times",
    "status": "the status",
}
