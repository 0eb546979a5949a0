"""What `truetick check` does: diagnose, send a test message if that is wanted, and say whether sending is proven.

It works, and explains itself, where there is no database, no worker and no key yet.
"""

from datetime import timedelta

import typer
from sqlalchemy.exc import DBAPIError

from worker.cli import display
from worker.cli.check_page import StageDisplay, show_diagnosis, show_trial
from worker.cli.workplace import wake_drain
from worker.diagnosis import trial
from worker.diagnosis.diagnoser import Diagnoser
from worker.diagnosis.trial_report import TrialReport
from worker.domain.errors import Conflict, InvalidNumber, InvalidRequest, NotFound, TruetickError
from worker.domain.phone import normalise_recipient
from worker.logs import configure_logging
from worker.outbox.events import Source
from worker.parts import Parts, parts
from worker.readiness import database_away, require_ready
from worker.settings import settings


def check(
    *,
    channel: str | None,
    test_to: str | None,
    text: str | None,
    timeout_s: float,
    within: timedelta,
    as_json: bool,
) -> bool:
    """True when sending is proven: by the test message if there is one, else by recent ticks on every channel.

    Raises BadParameter for a number, a text or a channel that cannot be used, DatabaseNotReady where a test message
    cannot be stored; the diagnosis is told before.
    """
    given = settings()
    # A command says what is wrong in its own sentences; standard output belongs to its answer.
    configure_logging(given.model_copy(update={"log_level": "CRITICAL"}))
    if test_to is not None:
        _require_number(test_to, given.default_region)
    here = parts()
    try:
        diagnosis = Diagnoser(here).diagnose(channel=channel, within=within)
    except NotFound as error:
        raise typer.BadParameter(error.message, param_hint="--channel") from None
    if not as_json:
        show_diagnosis(diagnosis)
    if test_to is None:
        if as_json:
            display.print_json(diagnosis.as_json() | {"test_message": None})
        return diagnosis.proven
    try:
        report = _test(here, test_to, channel, text or trial.TEXT, timeout_s, quiet=as_json)
    except TruetickError as error:
        if not as_json:
            raise
        problem = {"code": error.code, "message": error.message}
        display.print_json(diagnosis.as_json() | {"proven": False, "test_message": None, "error": problem})
        typer.echo(error.message, err=True)
        return False
    if as_json:
        tested = {"proven": report.proven, "summary": report.summary, "test_message": report.as_json()}
        display.print_json(diagnosis.as_json() | tested)
    else:
        show_trial(report)
    return report.proven


def _require_number(test_to: str, region: str) -> None:
    try:
        normalise_recipient(test_to, region)
    except InvalidNumber as error:
        raise typer.BadParameter(error.message, param_hint="--test-to") from None


def _test(here: Parts, to: str, channel: str | None, text: str, timeout_s: float, *, quiet: bool) -> TrialReport:
    require_ready(here.engine)
    try:
        message_id = trial.begin(here, to, channel=channel, text=text, source=Source.OPERATOR)
        wake_drain()
        if quiet:
            return trial.follow(here, message_id, timeout_s=timeout_s)
        with StageDisplay(timeout_s) as stages:
            return trial.follow(here, message_id, timeout_s=timeout_s, on_stage=stages.show)
    except NotFound as error:
        raise typer.BadParameter(error.message, param_hint="--channel") from None
    except (InvalidRequest, Conflict) as error:  # the text cannot be stored, or this person wants no messages
        raise typer.BadParameter(error.message) from None
    except DBAPIError as error:
        raise database_away(here.engine, error) from None
