"""What a process need not import it does not: every command, worker and web server pays for it at its start."""

import json
import subprocess
import sys

from tests.stack.processes import ROOT

#: One process after the other would import the same again, so this one imports more and more.
STAGES = """
import importlib, json, sys
heavy = set(sys.argv[1].split())
found = {}
for modules in sys.argv[2:]:
    for module in modules.split():
        importlib.import_module(module)
    found[modules] = sorted(heavy & set(sys.modules))
print(json.dumps(found))
"""
#: Each takes between twenty milliseconds and half a second.
HEAVY = "alembic apprise asyncio celery flask flower gunicorn phonenumbers pydantic requests sqlalchemy structlog"
EVERY_COMMAND = "worker.cli.app"
COMMANDS_ON_THE_DATABASE = " ".join(
    f"worker.cli.{path.stem}"
    for path in sorted((ROOT / "worker" / "cli").glob("*_work.py"))
    if path.stem not in {"callback_work", "check_work"}  # these speak with the broker whatever is asked of them
)
WORKER_AND_WEB = "worker.tasks crm_bridge.web.application"


def test_alembic_and_apprise_are_for_those_who_migrate_and_alarm_and_help_needs_none_of_it() -> None:
    stages = (EVERY_COMMAND, COMMANDS_ON_THE_DATABASE, WORKER_AND_WEB)
    command = [sys.executable, "-c", STAGES, HEAVY, *stages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found = {stage: set(modules) for stage, modules in json.loads(done.stdout).items()}

    assert found[EVERY_COMMAND] == set()
    assert "sqlalchemy" in found[COMMANDS_ON_THE_DATABASE], "nothing was imported"
    assert not found[COMMANDS_ON_THE_DATABASE] & {"alembic", "apprise", "celery", "flask", "flower", "gunicorn"}
    assert {"celery", "flask"} <= found[WORKER_AND_WEB]
    assert not found[WORKER_AND_WEB] & {"alembic", "apprise", "flower", "gunicorn"}
