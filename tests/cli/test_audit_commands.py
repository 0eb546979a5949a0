"""`truetick audit` on the day on which an installation that lied is replaced: its beliefs against what is proven."""

import csv
import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from tests.cli.conftest import Said
from tests.real_servers import Valkey
from worker import intake
from worker.audit.belief import Reader, Reading
from worker.audit.judging import Finding
from worker.audit.run import Audit
from worker.callbacks.corrections import tell_again
from worker.cli.audit_work import MOST_IN_JSON
from worker.database import snapshot, transaction
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.models import Message
from worker.outbox import feed
from worker.outbox.events import Source
from worker.outbox.rates import rates
from worker.parts import Parts
from worker.table_file import TableFile

Truetick = Callable[..., Said]
Ledger = Callable[..., UUID]
NOW = datetime.now(UTC).replace(microsecond=0)


def fill(parts: Parts, state: str, *, to: str = "70330 00001", text: str = "Hello", **request: Any) -> UUID:
    """A message in the ledger that has come to that state."""
    with transaction(parts.engine) as connection:
        wanted = parse_request({"to": to, "text": text} | request)
        made = intake.send_request(
            parts, connection, wanted, now=NOW, message_id=uuid4(), source=Source.API, keep_refused=True
        )
        values: dict[str, Any] = {"state": MessageState(state)}
        if state == "failed":
            values |= {"error_code": "not_on_whatsapp", "error_message": "The number is not on WhatsApp."}
        connection.execute(update(Message).where(Message.id == made.message_id).values(**values))
    return made.message_id


@pytest.fixture
def here(sqlite_url: str, build: Callable[..., Parts]) -> Parts:
    return build(sqlite_url)


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., str]:
    """Writes what the CRM believes: rows as dictionaries."""

    def write(*rows: dict[str, object]) -> str:
        path = tmp_path / "crm.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return str(path)

    return write


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as report:
        return list(csv.DictReader(report))


def test_a_crm_that_is_right_is_told_so(on: Truetick, here: Parts, export: Callable[..., str]) -> None:
    sent, failed = fill(here, "sent"), fill(here, "failed", to="70330 00002")
    table = export({"message_id": sent, "status": "Sent"}, {"message_id": failed, "status": "Not sent"})
    said = on("audit", table)
    assert (said.code, said.err) == (0, "")
    assert "2 rows: 2 agree." in said.out


def test_each_kind_of_error_is_found_shown_and_kept_in_a_report(
    on: Truetick, here: Parts, export: Callable[..., str], tmp_path: Path
) -> None:
    ids = [fill(here, state, to=f"70330 0000{index}") for index, state in enumerate(("sent", "failed", "delivered"))]
    fill(here, "sent", crm_ref="twice")
    fill(here, "failed", crm_ref="twice")
    table = export(
        {"id": ids[0], "phone": "", "status": "sent"},
        {"id": ids[1], "phone": "", "status": "delivered"},
        {"id": ids[2], "phone": "", "status": "failed"},
        {"id": uuid4(), "phone": "70330 00009", "status": "sent"},
        {"id": "twice", "phone": "", "status": "sent"},
        {"id": ids[0], "phone": "", "status": "confetti"},
        {"id": "", "phone": "12", "status": "sent"},
    )
    report = tmp_path / "wrong.csv"
    said = on("audit", table, "--report", str(report), columns=150)
    assert said.code == 1
    assert "7 rows: 1 agree, 1 false sent, 1 contradicted, 1 missing, 1 ambiguous, 2 unreadable." in said.out
    assert "1 message that the CRM calls sent was never confirmed by WhatsApp." in said.out
    rows = rows_of(report)
    assert [(row["truetick_row"], row["truetick_finding"], row["truetick_detail"]) for row in rows] == [
        ("2", "false_sent", "not_on_whatsapp"),
        ("3", "contradicted", "other"),
        ("4", "missing", ""),
        ("5", "ambiguous", ""),
        ("6", "unreadable", "unknown_status"),
        ("7", "unreadable", "too_short"),
    ]
    assert (rows[0]["truetick_status"], rows[0]["truetick_message_id"], rows[0]["status"]) == (
        "failed",
        str(ids[1]),
        "delivered",
    )
    assert report.stat().st_mode & 0o077 == 0


def test_messages_without_an_id_are_found_by_number_text_and_time(
    on: Truetick, here: Parts, export: Callable[..., str]
) -> None:
    fill(here, "sent", text="One\nand two")
    fill(here, "failed", text="Another")
    local = (NOW + timedelta(hours=5, minutes=30)).strftime("%d/%m/%Y %H:%M")
    options = ("--time-format", "%d/%m/%Y %H:%M", "--time-zone", "Asia/Kolkata", "--window", "10m", "--json")
    believed = {"mobile": "+91-70330-00001", "sent at": local, "state": "done"}
    table = export(
        believed | {"message": "One\r\nand two "},
        believed | {"message": "Another"},
        believed | {"message": "Another"},
        believed | {"message": "A third"},
    )
    unknown = on("audit", table, *options)
    assert unknown.json["counts"]["agrees"] == 1, "done is a known word for sent"
    found = [(one["row"], one["finding"], one["detail"]) for one in unknown.json["findings"]]
    assert found == [
        (2, "false_sent", "not_on_whatsapp"),
        (3, "missing", "told_twice"),
        (4, "missing", ""),
    ]
    far = on("audit", table, *options[:2], "--time-zone", "UTC", "--window", "10m", "--json")
    assert far.json["counts"]["missing"] == 4


def test_what_json_leaves_out_is_counted(on: Truetick, here: Parts, export: Callable[..., str]) -> None:
    rows = MOST_IN_JSON + 7
    told = on("audit", export(*({"ref": number, "status": "sent"} for number in range(rows))), "--json").json
    assert (len(told["findings"]), told["findings_left_out"]) == (MOST_IN_JSON, 7)
    assert told["counts"]["missing"] == rows


def test_the_crms_own_words_and_columns_are_learnt(on: Truetick, here: Parts, export: Callable[..., str]) -> None:
    fill(here, "delivered", crm_ref="L-1")
    table = export({"Lead": "L-1", "Zustand": "Zugestellt!"})
    options = ("--ref-column", "lead", "--status-column", "Zustand")
    assert on("audit", table, *options).code == 1
    assert on("audit", table, *options, "--status-word", "zugestellt=delivered").code == 0
    assert on("audit", table, *options, "--status-word", "Zugestellt!=sent").code == 1
    assert on("audit", table, *options, "--status-word", "Zugestellt!=sent", "--coarse").code == 0


def test_statuses_without_letters_are_words_of_their_own_and_their_advice_can_be_typed(
    on: Truetick, here: Parts, export: Callable[..., str]
) -> None:
    fill(here, "sent", crm_ref="L-1")
    fill(here, "delivered", crm_ref="L-2")
    fill(here, "failed", crm_ref="L-3")
    table = export(
        *({"ref": f"L-{number}", "status": word} for number, word in enumerate(("✓", "✓✓", "✗", "", "= hm!"), 1))
    )

    untold = on("audit", table, "--json").json["findings"]
    words = ("--status-word", "✓=sent", "--status-word", "✓✓=delivered", "--status-word", "✗=failed")
    told = on("audit", table, *words, "--json")

    assert [one["detail"] for one in untold] == ["unknown_status"] * 3 + ["no_status", "unknown_status"]
    assert "--status-word" not in untold[3]["advice"]
    typed = [shlex.split(one["advice"].partition("--status-word ")[2]) for one in untold if one["row"] != 4]
    assert typed == [["✓=sent"], ["✓✓=sent"], ["✗=sent"], ["= hm!=sent"]]
    assert told.json["counts"]["agrees"] == 3
    assert [one["row"] for one in told.json["findings"]] == [4, 5]


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ({"id": 1}, (), "--status-column"),
        ({"status": "sent"}, (), "--id-column"),
        ({"id": 1, "status": "sent"}, ("--to-column", "nowhere"), "no column 'nowhere'"),
        ({"id": 1, "status": "sent"}, ("--status-word", "done=maybe"), "STATUS is one of"),
        ({"id": 1, "status": "sent"}, ("--window", "soon"), "soon"),
        ({"id": 1, "status": "sent"}, ("--time-zone", "Mars/Olympus"), "no time zone"),
        ({"id": 1, "status": "sent"}, ("--report", "/nowhere/wrong.csv"), "cannot be written"),
        ({"id": 1, "status": "sent"}, ("--region", "Atlantis"), "not a country"),
        ({"id": 1, "status": "sent"}, ("--time-format", "%d/%Q"), "is not understood"),
    ],
)
def test_a_table_or_command_line_that_cannot_be_used_is_told(
    on: Truetick,
    export: Callable[..., str],
    rows: dict[str, object],
    options: tuple[str, ...],
    said: str,
) -> None:
    answer = on("audit", export(rows), *options, columns=200)
    assert answer.code == 2
    assert said in answer.err


def changes(parts: Parts) -> list[tuple[UUID, str, bool]]:
    """The change feed: which message, what status, and whether the message was made by it."""
    with transaction(parts.engine) as connection:
        feed.number_changes(connection)
    with snapshot(parts.engine) as connection:
        ids = {row.seq: row.id for row in connection.execute(select(Message.seq, Message.id))}
        told = feed.changes_after(connection, 0, most=1000)
        return [(ids[change.message_seq], change.status, change.is_first) for change in told]


def test_the_true_status_is_told_again_where_the_crm_is_wrong_and_only_there(
    on: Truetick, here: Parts, export: Callable[..., str]
) -> None:
    right, failed, queued = (
        fill(here, state, to=f"70330 0000{n}") for n, state in enumerate(("sent", "failed", "queued"))
    )
    other = fill(here, "read", to="70330 00007")
    before = changes(here)
    table = export(
        {"id": right, "to": "", "status": "sent"},
        {"id": failed, "to": "", "status": "sent"},
        {"id": queued, "to": "", "status": "read"},
        {"id": other, "to": "70330 00008", "status": "read"},
    )
    assert on("audit", table).code == 1
    assert changes(here) == before, "an audit alone tells nobody anything"
    said = on("audit", table, "--correct")
    assert said.code == 1
    assert "The true status of 2 messages is told to the CRM again." in said.out
    assert "no endpoint" in said.out
    assert changes(here)[len(before) :] == [(failed, "failed", False), (queued, "pending", False)]


def test_corrections_are_told_at_once_and_no_worker_is_woken_for_none(
    on: Truetick, here: Parts, export: Callable[..., str], broker: Valkey
) -> None:
    table = export({"id": fill(here, "failed"), "status": "sent"})

    def published() -> int:
        lists = [key for key in broker.client.scan_iter() if broker.client.type(key) == b"list"]
        return sum(b"deliver_callbacks" in one for key in lists for one in broker.client.lrange(key, 0, -1))

    on("audit", table, CELERY_BROKER_URL=broker.url)
    assert published() == 0
    on("audit", table, "--correct", CELERY_BROKER_URL=broker.url)
    assert published() == 1


def test_a_correction_is_told_on_each_database_and_is_no_new_failure(parts: Parts) -> None:
    failed = fill(parts, "failed")
    with transaction(parts.engine) as connection:
        seq = connection.execute(select(Message.seq).where(Message.id == failed)).scalar_one()
        assert tell_again(connection, [seq, 10**9], now=NOW) == 1
        [lately, _] = rates(connection, [1], now=NOW)[1]
    assert changes(parts)[-1] == (failed, "failed", False)
    assert lately.failed == 0


@pytest.fixture
def audited(parts: Parts, tmp_path: Path) -> Callable[..., dict[str, int]]:
    """Audits rows on each database; what is counted."""

    def audit(content: str) -> dict[str, int]:
        path = tmp_path / "rows.csv"
        path.write_text(content)
        table = TableFile.examine(path)
        audit = Audit(parts.engine, table, Reader.of(table, Reading()), window=timedelta(hours=24), is_coarse=False)
        seen = sum(len(chunk) for chunk in audit.run(lambda _: None))
        assert seen == table.rows
        return {finding.value: count for finding, count in audit.counts.items()}

    return audit


@pytest.fixture
def _few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.audit.run.MOST_CANDIDATES", 3)


@pytest.mark.usefixtures("_few_candidates")
def test_where_many_messages_fit_they_are_looked_at_in_parts(
    parts: Parts, audited: Callable[..., dict[str, int]]
) -> None:
    for index in range(6):
        fill(parts, "sent", to=f"70330 0000{index}")
    for _ in range(4):
        fill(parts, "sent", to="70330 00009", crm_ref="many")
    rows = "".join(f"70330 0000{index},,sent,{NOW.isoformat()}\n" for index in (*range(6), 9))
    assert audited("to,ref,status,time\n" + rows + ",many,sent,\n") == {"agrees": 6, "ambiguous": 2}


def test_every_row_of_a_large_export_is_judged(parts: Parts, audited: Callable[..., dict[str, int]]) -> None:
    made = [fill(parts, "sent", to=f"70330 {index:05d}") for index in range(5)]
    rows = "".join(f"{made[index % 5] if index < 5 else uuid4()},sent\n" for index in range(1203))
    assert audited("id,status\n" + rows) == {"agrees": 5, "missing": 1198}


def test_a_crms_own_ids_are_references_even_if_they_look_like_ours(
    parts: Parts, audited: Callable[..., dict[str, int]]
) -> None:
    theirs = uuid4()
    fill(parts, "failed", crm_ref=str(theirs))
    assert audited(f"id,status\n{theirs},sent\n") == {"false_sent": 1}


def test_a_time_that_is_not_understood_matters_only_where_there_is_no_name(
    parts: Parts, audited: Callable[..., dict[str, int]]
) -> None:
    sent = fill(parts, "sent")
    for time in ("22/11/2026 18:00", "0001-01-01T00:00:00", "9999-12-31", "0000-00-00 00:00:00"):
        assert audited(f"id,to,status,time\n{sent},,sent,{time}\n,70330 00001,sent,{time}\n") == {
            "agrees": 1,
            "unreadable": 1,
        }


def test_no_row_is_taken_for_a_message_that_another_one_names_however_far_below(
    parts: Parts, audited: Callable[..., dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CRM has two reminders alike; one of them was never enqueued."""
    monkeypatch.setattr("worker.audit.run.CHUNK", 1)
    sent, lost = fill(parts, "sent"), uuid4()
    rows = "".join(f"{one},70330 00001,Hello,sent,{NOW.isoformat()}\n" for one in (lost, sent))
    assert audited("id,to,text,status,time\n" + rows) == {"missing": 1, "agrees": 1}


def test_json_names_every_count(on: Truetick, here: Parts, export: Callable[..., str]) -> None:
    said = on("audit", export({"id": fill(here, "sent"), "status": "delivered"}), "--json")
    answer = json.loads(said.out)
    assert set(answer["counts"]) == {finding.value for finding in Finding}
    [finding] = answer["findings"]
    assert (finding["finding"], finding["crm_status"], finding["status"]) == ("contradicted", "delivered", "sent")
    assert "70330" not in said.out
