"""What can keep the one-machine stack from starting."""

from worker.domain.errors import TruetickError


class StackFailed(TruetickError):
    """The stack cannot start or go on. The message says what to do about it."""

    default_code = "stack_failed"
