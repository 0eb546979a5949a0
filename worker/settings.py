"""All settings, read once from the environment (and a `.env` file); nothing else reads the environment.

Without `DATABASE_URL` and `CELERY_BROKER_URL` everything lives in files under the var folder of one machine.
"""

import hashlib
import os
import tempfile
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.domain.channel_state import NAME
from worker.domain.errors import NotConfigured
from worker.domain.opt_out import START_WORDS, STOP_WORDS
from worker.domain.pace import Pace
from worker.domain.quiet_hours import USUAL, QuietHours

#: A unix socket's path may hold 108 bytes with its closing NUL on Linux, 104 on macOS.
LONGEST_SOCKET_PATH = 100

#: What opens the whole HTTP API must not be found by trying.
SHORTEST_API_KEY = 16

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _known_region(region: str) -> str:
    import phonenumbers  # 60 ms that only the processes which read settings pay

    upper = region.strip().upper()
    if upper not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("not a region code; write two letters such as IN, AE or GB")
    return upper


class Settings(BaseSettings):
    """One instance a process; see `.env.example` for what each means."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
    )

    database_url_given: SecretStr | None = Field(None, validation_alias="DATABASE_URL")
    broker_url_given: SecretStr | None = Field(None, validation_alias="CELERY_BROKER_URL")
    var_dir: Path = Field(Path("var"), validation_alias="TRUETICK_VAR_DIR")

    gateway_url: str = Field("https://www.wasenderapi.com/api", validation_alias="WASENDER_BASE_URL")
    gateway_api_key: SecretStr | None = Field(None, validation_alias="WASENDER_API_KEY")
    gateway_access_token: SecretStr | None = Field(None, validation_alias="WASENDER_PERSONAL_ACCESS_TOKEN")
    gateway_webhook_secret: SecretStr | None = Field(None, validation_alias="WASENDER_WEBHOOK_SECRET")
    gateway_connect_timeout_s: Seconds = Field(5.0, validation_alias="TRUETICK_CONNECT_TIMEOUT_S")
    gateway_read_timeout_s: Seconds = Field(30.0, validation_alias="TRUETICK_READ_TIMEOUT_S")

    default_region: Annotated[str, AfterValidator(_known_region)] = Field("IN", validation_alias="DEFAULT_REGION")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field((), validation_alias="TRUETICK_API_KEYS")
    secret_key_given: SecretStr | None = Field(None, validation_alias="TRUETICK_SECRET_KEY")
    pace_text: str = Field("1/5", validation_alias="TRUETICK_PACE")
    daily_cap: Annotated[int, Field(ge=1, le=10**9)] | None = Field(None, validation_alias="TRUETICK_DAILY_CAP")
    on_doubt: Literal["hold", "resend"] = Field("hold", validation_alias="TRUETICK_ON_DOUBT")
    on_stuck: Literal["hold", "resend"] = Field("resend", validation_alias="TRUETICK_ON_STUCK")
    max_unacked: Annotated[int, Field(ge=1, le=1000)] = Field(20, validation_alias="TRUETICK_MAX_UNACKED")
    ack_timeout_s: Seconds = Field(60.0, validation_alias="TRUETICK_ACK_TIMEOUT_S")
    settle_s: Seconds = Field(60.0, validation_alias="TRUETICK_SETTLE_S")
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field((), validation_alias="TRUETICK_ALERT_URLS")

    callback_url: SecretStr | None = Field(None, validation_alias="TRUETICK_CALLBACK_URL")
    callback_secret: SecretStr | None = Field(None, validation_alias="TRUETICK_CALLBACK_SECRET")

    default_pool: Annotated[str, Field(pattern=NAME)] | None = Field(None, validation_alias="TRUETICK_DEFAULT_POOL")
    failover_after_s: Seconds = Field(120.0, validation_alias="TRUETICK_FAILOVER_AFTER_S")
    quiet_hours_text: str | None = Field(None, validation_alias="TRUETICK_QUIET_HOURS")
    quiet_hours_for: Literal["bulk", "all"] = Field("bulk", validation_alias="TRUETICK_QUIET_HOURS_FOR")
    first_contacts_per_day: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        None, validation_alias="TRUETICK_FIRST_CONTACTS_PER_DAY"
    )
    jitter_s: Annotated[float, Field(ge=0, le=3600)] = Field(0.0, validation_alias="TRUETICK_JITTER_S")
    stop_words: Annotated[tuple[str, ...], NoDecode] = Field(STOP_WORDS, validation_alias="TRUETICK_STOP_WORDS")
    start_words: Annotated[tuple[str, ...], NoDecode] = Field(START_WORDS, validation_alias="TRUETICK_START_WORDS")
    stop_reply: str | None = Field(None, max_length=1000, validation_alias="TRUETICK_STOP_REPLY")
    start_reply: str | None = Field(None, max_length=1000, validation_alias="TRUETICK_START_REPLY")
    requests_per_minute: Annotated[int, Field(ge=1, le=10**6)] = Field(
        1200, validation_alias="TRUETICK_REQUESTS_PER_MINUTE"
    )
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = Field(0, validation_alias="TRUETICK_TRUSTED_PROXIES")

    check_interval_s: Seconds = Field(30.0, validation_alias="TRUETICK_CHECK_INTERVAL_S")
    reconcile_interval_s: Seconds = Field(5.0, validation_alias="TRUETICK_RECONCILE_INTERVAL_S")
    #: At most `drain_run_s`: slots behind a run's end are found by the sweep.
    sweep_interval_s: Seconds = Field(3.0, validation_alias="TRUETICK_SWEEP_INTERVAL_S")
    lease_s: Annotated[float, Field(ge=1, le=600)] = Field(15.0, validation_alias="TRUETICK_LEASE_S")
    drain_run_s: Annotated[float, Field(gt=0, le=60)] = Field(5.0, validation_alias="TRUETICK_DRAIN_RUN_S")
    sender_threads: Annotated[int, Field(ge=1, le=256)] = Field(64, validation_alias="TRUETICK_SENDER_THREADS")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", validation_alias="TRUETICK_LOG_LEVEL")
    log_format: Literal["console", "json"] = Field("console", validation_alias="TRUETICK_LOG_FORMAT")

    @field_validator("api_keys", "alert_urls", "stop_words", "start_words", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _keys_hard_to_guess(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < SHORTEST_API_KEY for key in keys):
            raise ValueError(
                f"each key needs at least {SHORTEST_API_KEY} characters, hard to guess; make one with: "
                "openssl rand -hex 32"
            )
        return keys

    @field_validator("gateway_url")
    @classmethod
    def _http_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with https:// (or http:// for a sandbox)")
        return value.rstrip("/")

    @field_validator("pace_text")
    @classmethod
    def _pace_understood(cls, value: str) -> str:
        try:
            Pace.parse(value)
        except NotConfigured:
            raise ValueError("write MESSAGES/SECONDS, such as 1/5 or 256/60") from None
        return value

    @field_validator("quiet_hours_text")
    @classmethod
    def _quiet_hours_understood(cls, value: str | None) -> str | None:
        try:
            return value and str(QuietHours.parse(value))
        except NotConfigured:
            raise ValueError("write HH:MM-HH:MM, such as 21:00-09:00") from None

    @field_validator("database_url_given")
    @classmethod
    def _database_known(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and _backend(value.get_secret_value()) not in {"postgresql", "postgres", "sqlite"}:
            raise ValueError("must begin with postgresql:// or sqlite:///")
        return value

    @property
    def pace(self) -> Pace:
        """The default channel's pace."""
        return Pace.parse(self.pace_text)

    @property
    def quiet_hours(self) -> QuietHours:
        """When nobody wants to be written to, by each recipient's own clock."""
        return QuietHours.parse(self.quiet_hours_text) if self.quiet_hours_text else USUAL

    @property
    def one_machine_database(self) -> bool:
        return self.database_url_given is None

    @property
    def one_machine_broker(self) -> bool:
        return self.broker_url_given is None

    @property
    def database_url(self) -> str:
        """A SQLAlchemy address; may hold a password, so it is never logged."""
        if self.database_url_given is not None:
            return _with_psycopg(self.database_url_given.get_secret_value())
        return f"sqlite:///{quote(str(self.var_dir.absolute() / 'truetick.db'))}"

    @property
    def broker_url(self) -> str:
        """A Celery broker address; may hold a password, so it is never logged."""
        if self.broker_url_given is not None:
            return self.broker_url_given.get_secret_value()
        return f"redis+socket://{quote(str(self.broker_socket))}?virtual_host=0"

    @cached_property
    def broker_socket(self) -> Path:
        """Where the one-machine broker listens: in a folder that only its owner may enter."""
        digest = hashlib.sha256(os.fsencode(self.var_dir.absolute())).hexdigest()[:16]
        private = f"truetick-{os.getuid()}-{digest}"
        folders = (self.var_dir.absolute() / "broker", Path(tempfile.gettempdir()) / private, Path("/tmp") / private)  # noqa: S108 - private by its mode
        sockets = [folder / "valkey.sock" for folder in folders]
        return next((path for path in sockets if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH), sockets[-1])


def _backend(url: str) -> str:
    """`postgresql` of `postgresql+driver://…`; empty where there is no scheme."""
    scheme, separator, _ = url.partition("://")
    return scheme.partition("+")[0] if separator else ""


def _with_psycopg(url: str) -> str:
    """Every spelling of PostgreSQL means the one driver that comes along, whatever the CRM's own settings name."""
    return f"postgresql+psycopg://{url.partition('://')[2]}" if _backend(url).startswith("postgres") else url


def read_settings(**overrides: object) -> Settings:
    """Read the environment afresh. Raises NotConfigured naming each bad variable, never its value."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except UnicodeDecodeError:
        raise NotConfigured("The file .env cannot be read: save it as UTF-8 text.", code="bad_settings") from None
    except ValidationError as error:
        wrong = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors(include_input=False))
        raise NotConfigured(f"Some settings cannot be used. {wrong}.", code="bad_settings") from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """This process's settings, read on first use."""
    return read_settings()
