"""What a person may get wrong when steering the sandbox; each becomes HTTP 400 with a sentence."""


class ControlError(Exception):
    """Bad control input. The text says what was wrong and what would be right."""
