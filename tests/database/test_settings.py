"""Settings: each variable is read, a bad one is named but never shown, and nothing prints a secret."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from kombu.utils.url import url_to_parts
from pydantic import SecretStr
from sqlalchemy import make_url

from worker.database import open_engine
from worker.domain.errors import NotConfigured
from worker.domain.pace import Pace
from worker.parts import build_parts
from worker.settings import LONGEST_SOCKET_PATH, Settings, read_settings

PRECIOUS = "pR3ciouS-VaLue"
GIVEN = {
    "DATABASE_URL": f"postgresql://truetick:{PRECIOUS}@db/truetick",
    "CELERY_BROKER_URL": f"redis://:{PRECIOUS}@redis:6379/0",
    "WASENDER_API_KEY": PRECIOUS,
    "WASENDER_PERSONAL_ACCESS_TOKEN": PRECIOUS,
    "WASENDER_WEBHOOK_SECRET": PRECIOUS,
    "TRUETICK_API_KEYS": f"{PRECIOUS}{PRECIOUS}, another-long-one ,,",
    "TRUETICK_SECRET_KEY": PRECIOUS,
    "TRUETICK_VAR_DIR": "/tmp/elsewhere",
    "WASENDER_BASE_URL": "http://127.0.0.1:8900/api/",
    "TRUETICK_CONNECT_TIMEOUT_S": "1.5",
    "TRUETICK_READ_TIMEOUT_S": "2.5",
    "DEFAULT_REGION": " ae ",
    "TRUETICK_PACE": "256/60",
    "TRUETICK_DAILY_CAP": "50",
    "TRUETICK_ON_DOUBT": "resend",
    "TRUETICK_ON_STUCK": "hold",
    "TRUETICK_MAX_UNACKED": "10",
    "TRUETICK_ACK_TIMEOUT_S": "11",
    "TRUETICK_SETTLE_S": "12",
    "TRUETICK_ALERT_URLS": f"json://user:{PRECIOUS}@example.com, ,ntfys://other",
    "TRUETICK_CALLBACK_URL": f"https://example.com/{PRECIOUS}",
    "TRUETICK_CALLBACK_SECRET": PRECIOUS,
    "TRUETICK_DEFAULT_POOL": "sales",
    "TRUETICK_FAILOVER_AFTER_S": "13",
    "TRUETICK_QUIET_HOURS": " 9:30 - 21:00",
    "TRUETICK_QUIET_HOURS_FOR": "all",
    "TRUETICK_FIRST_CONTACTS_PER_DAY": "14",
    "TRUETICK_JITTER_S": "0.5",
    "TRUETICK_STOP_WORDS": "halt, , no more",
    "TRUETICK_START_WORDS": "go on",
    "TRUETICK_STOP_REPLY": "Gone.",
    "TRUETICK_START_REPLY": "Back.",
    "TRUETICK_REQUESTS_PER_MINUTE": "15",
    "TRUETICK_TRUSTED_PROXIES": "2",
    "TRUETICK_CHECK_INTERVAL_S": "3",
    "TRUETICK_RECONCILE_INTERVAL_S": "4",
    "TRUETICK_SWEEP_INTERVAL_S": "6",
    "TRUETICK_LEASE_S": "7",
    "TRUETICK_DRAIN_RUN_S": "8",
    "TRUETICK_SENDER_THREADS": "9",
    "TRUETICK_LOG_LEVEL": "DEBUG",
    "TRUETICK_LOG_FORMAT": "json",
}
BAD = {
    "DATABASE_URL": ["somewhere", "mysql://u:p@h/d", "://"],
    "WASENDER_BASE_URL": ["wasenderapi.com", "ftp://host"],
    "DEFAULT_REGION": ["India", "ZZ", "+91"],
    "TRUETICK_PACE": ["fast", "0/5", "1/0", "-1/5", "1", "1/5/6"],
    "TRUETICK_DAILY_CAP": ["0", "-1", "1.5", "many"],
    "TRUETICK_API_KEYS": ["short", f"{2 * PRECIOUS},fifteen-letters", "a,b"],
    "TRUETICK_ON_DOUBT": ["maybe"],
    "TRUETICK_ON_STUCK": ["maybe", "RESEND"],
    "TRUETICK_MAX_UNACKED": ["0", "1001", "2.5"],
    "TRUETICK_ACK_TIMEOUT_S": ["0", "nan", "86401"],
    "TRUETICK_SETTLE_S": ["0", "-1", "soon"],
    "TRUETICK_DEFAULT_POOL": ["Sales!", "a b"],
    "TRUETICK_FAILOVER_AFTER_S": ["0", "never"],
    "TRUETICK_QUIET_HOURS": ["night", "21:00", "24:00-09:00", "9-21", "21:00-21:00"],
    "TRUETICK_QUIET_HOURS_FOR": ["some"],
    "TRUETICK_FIRST_CONTACTS_PER_DAY": ["0", "-1"],
    "TRUETICK_JITTER_S": ["-1", "nan", "3601"],
    "TRUETICK_REQUESTS_PER_MINUTE": ["0", "many"],
    "TRUETICK_CHECK_INTERVAL_S": ["0", "-1", "nan", "inf", "soon", "86401"],
    "TRUETICK_LEASE_S": ["0.5", "601", "nan"],
    "TRUETICK_DRAIN_RUN_S": ["0", "61"],
    "TRUETICK_SENDER_THREADS": ["0", "257", "1.5"],
    "TRUETICK_LOG_LEVEL": ["loud"],
    "TRUETICK_LOG_FORMAT": ["xml"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_variable_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = read_settings()
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    read = read_settings()
    aliases = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert aliases <= set(GIVEN), "a variable is not tested here"
    for name, field in Settings.model_fields.items():
        assert getattr(read, name) != getattr(plain, name), field.validation_alias
    assert read.database_url == f"postgresql+psycopg://truetick:{PRECIOUS}@db/truetick"
    assert read.broker_url == GIVEN["CELERY_BROKER_URL"]
    assert [key.get_secret_value() for key in read.api_keys] == [2 * PRECIOUS, "another-long-one"]
    assert [url.get_secret_value() for url in read.alert_urls] == [
        f"json://user:{PRECIOUS}@example.com",
        "ntfys://other",
    ]
    assert (read.stop_words, str(read.quiet_hours)) == (("halt", "no more"), "09:30-21:00")
    assert str(plain.quiet_hours) == "21:00-09:00", "for messages that ask to heed them"
    assert (read.gateway_url, read.default_region, read.pace) == ("http://127.0.0.1:8900/api", "AE", Pace(256, 60))
    assert (read.one_machine_database, read.one_machine_broker) == (False, False)


def test_every_variable_of_the_example_file_is_known_and_its_value_is_the_default(folder: Path) -> None:
    example = Path(__file__).parents[2] / ".env.example"
    lines = re.findall(r"^#([A-Z_]+)=(.*)$", example.read_text(), re.MULTILINE)
    by_alias = {str(field.validation_alias): field for field in Settings.model_fields.values()}
    assert {name for name, _ in lines} <= set(by_alias)
    for name, value in lines:
        default = by_alias[name].default
        if value and not isinstance(default, SecretStr | None):
            assert type(default)(value) == default, name


def test_an_empty_variable_is_as_good_as_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GIVEN:
        monkeypatch.setenv(name, "")
    assert read_settings() == read_settings(_env_file=None)
    assert read_settings().one_machine_database


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_named_and_said_what_is_wrong(folder: Path, name: str, value: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        read_settings(**{name: value})
    assert caught.value.code == "bad_settings"
    assert name in caught.value.message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", [*BAD, "TRUETICK_READ_TIMEOUT_S"])
def test_a_secret_in_the_wrong_variable_is_not_shown(folder: Path, name: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        read_settings(**{name: PRECIOUS})
    assert PRECIOUS not in caught.value.message
    assert PRECIOUS not in repr(caught.value)


def test_nothing_prints_a_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    parts = build_parts(read_settings())
    for shown in (parts.settings, parts, parts.engine, parts.vault, parts.gateway, parts.settings.model_dump()):
        assert PRECIOUS not in f"{shown!r} {shown!s}"
    assert PRECIOUS not in parts.settings.model_dump_json()
    parts.engine.dispose()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_named_env_is_honoured_and_the_environment_wins(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    text = 'DEFAULT_REGION=AE\r\nTRUETICK_PACE="7/8" # a remark\nexport WASENDER_API_KEY=é\nOTHER=1\n'
    (folder / ".env").write_text(text, encoding=encoding)
    monkeypatch.setenv("TRUETICK_PACE", "5/6")
    read = read_settings()
    assert (read.default_region, read.pace_text) == ("AE", "5/6")
    assert read.gateway_api_key == SecretStr("é")


def test_a_file_named_env_that_is_no_text_is_an_error_for_people(folder: Path) -> None:
    (folder / ".env").write_text("DEFAULT_REGION=AE", encoding="utf-16")
    with pytest.raises(NotConfigured, match=r"\.env"):
        read_settings()


@pytest.mark.parametrize(
    "spelling", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"]
)
def test_every_spelling_of_postgresql_means_the_driver_that_is_there(folder: Path, spelling: str) -> None:
    engine = open_engine(read_settings(DATABASE_URL=f"{spelling}://u:p%40@h:5433/d?sslmode=require").database_url)
    assert engine.driver == "psycopg"
    url = engine.url
    assert (url.username, url.password, url.host, url.port, url.database) == ("u", "p@", "h", 5433, "d")
    assert url.query == {"sslmode": "require"}


names = st.text(st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), min_size=1, max_size=60)


@profile(max_examples=60, deadline=None)
@given(parts=st.lists(names, min_size=1, max_size=4))
def test_any_folder_can_hold_the_database_and_the_brokers_socket(parts: list[str]) -> None:
    var = Path("/srv", *parts)
    read = read_settings(TRUETICK_VAR_DIR=var, _env_file=None)
    assert make_url(read.database_url).database == str(var / "truetick.db")
    assert len(bytes(read.broker_socket)) <= LONGEST_SOCKET_PATH
    # kombu takes the broker's address apart like this
    address = url_to_parts(read.broker_url.removeprefix("redis+"))
    assert (f"/{address.path}", address.query) == (str(read.broker_socket), {"virtual_host": "0"})


def test_the_socket_finds_a_short_path_however_long_the_folders_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = folder / ("x" * 200)
    sockets = {read_settings(TRUETICK_VAR_DIR=deep / name).broker_socket for name in ("a", "b")}
    assert len(sockets) == 2, "each folder has a broker of its own"
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    for socket in (*sockets, read_settings(TRUETICK_VAR_DIR=deep).broker_socket):
        assert len(bytes(socket)) <= LONGEST_SOCKET_PATH
    assert read_settings(TRUETICK_VAR_DIR="/srv/var").broker_socket == Path("/srv/var/broker/valkey.sock")
