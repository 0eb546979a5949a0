"""The guide, narrowed to what is wrong now."""

import inspect
import re
from collections.abc import Callable

import typer

from tests.diagnosis.conftest import OPTIONS, Line, Ward
from tests.truth.stage import Stage
from worker import readiness
from worker.channels import overview
from worker.cli.app import app
from worker.diagnosis import (
    finding,
    guide,
    judging_gateway,
    judging_proof,
    judging_setup,
    judging_stack,
    judging_traffic,
    trial_report,
    troubleshooting,
)
from worker.diagnosis.guide import GUIDE
from worker.domain import channel_state
from worker.parts import Parts

#: Where people are told what to type.
ADVISERS = (
    *(
        guide,
        troubleshooting,
        trial_report,
        judging_gateway,
        judging_proof,
        judging_setup,
        judging_stack,
        judging_traffic,
    ),
    *(channel_state, overview, readiness),
)


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


def test_every_command_that_somebody_is_advised_to_type_exists() -> None:
    told = "\n".join(map(inspect.getsource, ADVISERS))
    advised = {tuple(found.split()) for found in re.findall(r"truetick ([a-z][^`.,;:()\"\n]*)", told)}
    assert len(advised) > 15

    for words in advised:
        command, rest = typer.main.get_command(app), list(words)
        while hasattr(command, "commands"):
            assert rest, f"truetick {' '.join(words)}: there is something missing"
            assert rest[0] in command.commands, f"truetick {' '.join(words)}: there is no such command"
            command = command.commands[rest.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, f"truetick {' '.join(words)}"
