"""A CRM with its default channel up, on each database in turn."""

import pytest

from tests.drain.scene import Crm
from wasender_sandbox.control import Sandbox
from worker.parts import Parts


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    crm = Crm(parts, sandbox)
    crm.channels("default")
    return crm
