"""What the stories are made from: settings, engine, clock, gateway and vault, built once in a process."""

import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from sqlalchemy import Engine

from worker.clock import Clock, DatabaseClock
from worker.courier import Courier
from worker.database import DatabaseAway, open_engine
from worker.domain.phone import normalise_recipient
from worker.gateway.account import AccountClient
from worker.gateway.client import GatewayClient
from worker.settings import Settings, settings
from worker.vault import Vault


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Handed to every story; tests build their own."""

    settings: Settings
    engine: Engine
    clock: Clock
    gateway: GatewayClient
    #: What a personal access token can ask; None without one.
    account: AccountClient | None
    vault: Vault
    #: Who tells people of alarms.
    courier: Courier
    #: Who sends: host and process, for leases and attempts.
    worker: str
    #: Where chance comes from, so that tests can do without it.
    chance: Random = field(default_factory=Random)
    #: Set when the process is asked to stop: runs end early, waits are cut short.
    stopping: threading.Event = field(default_factory=threading.Event)


def build_parts(given: Settings) -> Parts:
    """Parts for one process. Opens no connection yet."""
    engine = open_engine(given.database_url, pool_size=given.sender_threads + 8)
    return Parts(
        settings=given,
        engine=engine,
        clock=DatabaseClock(engine),
        gateway=GatewayClient(
            given.gateway_url,
            connect_timeout_s=given.gateway_connect_timeout_s,
            read_timeout_s=given.gateway_read_timeout_s,
            # Two runs can overlap, and ticks and states are asked for beside them.
            pool_size=2 * given.sender_threads + 16,
        ),
        account=_account(given),
        vault=Vault(given),
        courier=Courier(given.alert_urls),
        worker=f"{socket.gethostname()}:{os.getpid()}"[:128],
    )


def _account(given: Settings) -> AccountClient | None:
    if given.gateway_access_token is None:
        return None
    return AccountClient(
        given.gateway_url, given.gateway_access_token, connect_timeout_s=given.gateway_connect_timeout_s
    )


@lru_cache(maxsize=1)
def parts() -> Parts:
    """This process's parts, built on first use."""
    return build_parts(settings())


def warm_up(built: Parts) -> None:
    """Do once, ahead of time, what is slow the first time. A database that is away is no reason not to start."""
    normalise_recipient("+917033009600", built.settings.default_region)
    with suppress(*DatabaseAway):
        built.clock()


def forget_parts() -> None:
    """Start afresh in a forked child: connections of the parent are left to the parent."""
    if parts.cache_info().currsize:
        parts().engine.dispose(close=False)
        parts.cache_clear()
