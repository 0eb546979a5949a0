"""The environment of real worker and beat processes, and a CRM that looks into their database."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import API_KEY, SECRET_KEY
from tests.drain.scene import Crm
from tests.real_servers import Valkey
from wasender_sandbox.control import Sandbox
from worker.domain.channel_state import ChannelState
from worker.parts import Parts


@pytest.fixture
def environment(database_url: str, broker: Valkey, sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": broker.url,
        "WASENDER_BASE_URL": sandbox.api_url,
        "WASENDER_API_KEY": API_KEY,
        "TRUETICK_VAR_DIR": str(tmp_path / "var"),
        "TRUETICK_SECRET_KEY": SECRET_KEY,
        "TRUETICK_PACE": "50/1",
        "TRUETICK_CHECK_INTERVAL_S": "1",
        "TRUETICK_RECONCILE_INTERVAL_S": "0.5",
        "TRUETICK_SWEEP_INTERVAL_S": "0.5",
        "TRUETICK_LOG_LEVEL": "DEBUG",
    }


@pytest.fixture
def crm(build: Callable[..., Parts], database_url: str, sandbox: Sandbox, environment: dict[str, str]) -> Crm:
    crm = Crm(build(database_url, TRUETICK_PACE=environment["TRUETICK_PACE"]), sandbox)
    crm.channels("default", state=ChannelState.UNKNOWN)
    return crm
