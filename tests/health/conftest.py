"""A CRM whose channels nobody has checked yet, on each database in turn."""

import pytest

from tests.drain.scene import Crm
from wasender_sandbox.control import Sandbox
from worker.domain.channel_state import ChannelState
from worker.parts import Parts


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    crm = Crm(parts, sandbox)
    crm.channels("default", state=ChannelState.UNKNOWN)
    return crm
