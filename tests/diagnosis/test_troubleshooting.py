"""The guide, narrowed to what is wrong now."""

import inspect
import re
from collections.abc import Callable

import pytest

from tests.conftest import API_KEY
from tests.diagnosis.conftest import OPTIONS, Line, Ward
from tests.truth.stage import Stage
from wasender_sandbox.control import Sandbox
from worker.diagnosis import finding, guide, troubleshooting
from worker.diagnosis.guide import GUIDE
from worker.parts import Parts


@pytest.fixture
def parts(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    sandbox.switch("ack_after_s", 0)
    return build(sqlite_url, **OPTIONS)


def test_when_all_is_well_it_says_so_and_what_would_show_trouble(ward: Ward, tick_one: Callable[[], None]) -> None:
    tick_one()
    diagnosis = ward.diagnose()

    told = troubleshooting.as_json(diagnosis, troubleshooting.troubleshoot(diagnosis))

    assert (told["all_well"], told["problems"]) == (True, [])
    assert "All is well" in told["summary"]
    assert len(told["watch"]) >= 3
    assert "guide" not in told


def test_the_most_urgent_comes_first_and_names_the_channel(stage: Stage, parts: Parts) -> None:
    stage.sandbox.set_status("default", "need_scan")
    stage.pass_time(30)
    stage.check()
    stage.pass_time(600)
    ward = Ward(parts, Line(answering=(), ticking=()))
    diagnosis = ward.diagnose()

    told = troubleshooting.as_json(diagnosis, troubleshooting.troubleshoot(diagnosis), whole_guide=True)

    titles = [problem["title"] for problem in told["problems"]]
    assert titles[:2] == ["No worker runs", "Nobody checks the channels"]
    assert "The phone has unlinked the session" in titles
    unlinked = told["problems"][titles.index("The phone has unlinked the session")]
    assert unlinked["channels"] == ["default"]
    assert any("channel default" in step for step in unlinked["steps"])
    assert "{name}" not in str(told["problems"])
    assert "Begin with: No worker runs." in told["summary"]
    assert len(told["guide"]) == len(GUIDE)


def test_what_another_trouble_explains_is_not_told_twice(build: Callable[..., Parts], tmp_path: object) -> None:
    diagnosis = Ward(build(f"sqlite:///{tmp_path}/nowhere.db", **OPTIONS)).diagnose()

    advice = troubleshooting.troubleshoot(diagnosis)

    assert advice[0].entry.title == "The database has no tables, or old ones"
    assert all("Mend the database first" not in str(one.findings) for one in advice)


def test_every_case_of_the_guide_is_one_that_a_check_can_find() -> None:
    checks = {check for entry in GUIDE for check, _ in entry.cases}
    assert checks == set(finding.TITLES), "each check has an entry, and each entry is about a check"
    named = [case for entry in GUIDE for case in entry.cases]
    assert len(named) == len(set(named)), "no case has two entries"
    for entry in GUIDE:
        assert entry.steps
        assert entry.what_happens.endswith(".")
        assert set(re.findall(r"{(\w+)}", " ".join(entry.steps))) <= {"name"}
    assert "{name}" in inspect.getsource(guide)
