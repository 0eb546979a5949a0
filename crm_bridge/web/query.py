"""Reads the parameters behind the question mark, strictly: a mistyped filter would otherwise list everything."""

from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from crm_bridge.web.problems import Problem
from worker.domain.message_request import Time

Parameters = TypeVar("Parameters", bound="Query")


def _digits(value: object) -> object:
    """Nothing but digits: not 1_000, not " 5", not 5.0."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("has to be a whole number")
    return value


def _plus_again(value: object) -> object:
    """A plus sign that was not escaped has become a space on its way: 2026-11-22T18:00:00 05:30."""
    return value.replace(" ", "+") if isinstance(value, str) and value[10:11] == "T" else value


#: For an int; stands last, so that the description shows its bounds.
WHOLE = BeforeValidator(_digits)
Moment = Annotated[Time, BeforeValidator(_plus_again)]


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def read_query(model: type[Parameters]) -> Parameters:
    """The parameters of this request. Raises Problem (422) for unknown, repeated and wrong ones."""
    given: dict[str, Any] = {}
    for name, values in request.args.lists():
        if name not in model.model_fields:
            known = ", ".join(model.model_fields)
            raise Problem(422, "unknown_parameter", f"There is a parameter that does not exist here. Known: {known}.")
        if len(values) > 1:
            raise Problem(422, "bad_parameter", f"The parameter {name} is given more than once.")
        given[name] = values[0]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        said = "; ".join(f"{one['loc'][0]}: {one['msg'].removeprefix('Value error, ')}" for one in problems)
        raise Problem(422, "bad_parameter", f"The parameters cannot be used: {said}.") from None
