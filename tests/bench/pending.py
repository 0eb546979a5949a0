"""Many pending messages at once, written by PostgreSQL itself, as if a CRM had sent them one by one."""

from rich.progress import Progress
from sqlalchemy import Engine, text

from worker.database import transaction

#: How many one statement writes.
BATCH = 50_000

#: Each to a recipient of its own, in the order of their numbers, spread evenly over the channels.
_INSERT = text(
    """
    WITH stored AS (
        INSERT INTO messages (id, channel_id, state, priority, "to", recipient, kind, content, due_at, on_doubt,
            fingerprint, attempts, doubts, resends, duplicates, checks, created_at)
        SELECT gen_random_uuid(), (CAST(:ids AS bigint[]))[1 + number % :channels], 'queued', 0,
            '+91' || (7000000000 + number), '+91' || (7000000000 + number), 'text',
            json_build_object('text', 'message ' || number),
            clock_timestamp() - interval '1 day' + number * interval '1 microsecond', 'hold',
            md5(number::text), 0, 0, 0, 0, 0, now() - interval '1 day'
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS number
        RETURNING seq, channel_id, created_at
    )
    INSERT INTO events (message_seq, channel_id, at, source, before, after, reason)
    SELECT seq, channel_id, created_at, 'api', NULL, 'queued', '' FROM stored
    """
)


def park(engine: Engine, channel_ids: list[int], messages: int, progress: Progress) -> None:
    """Store `messages` queued messages with their events, and let PostgreSQL learn how many there are."""
    task = progress.add_task("storing messages", total=messages)
    for first in range(0, messages, BATCH):
        last = min(first + BATCH, messages) - 1
        with transaction(engine) as connection:
            connection.execute(
                _INSERT, {"ids": channel_ids, "channels": len(channel_ids), "first": first, "last": last}
            )
        progress.update(task, completed=last + 1)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # At once, so that the server does not do it by itself during the measurement.
        connection.execute(text("VACUUM (ANALYZE) messages, events"))
