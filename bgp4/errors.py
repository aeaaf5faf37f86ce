"""Errors that the command line tells the user about."""

__all__ = ["UserInputError"]


class UserInputError(Exception):
    """The user's input is wrong: what, where, what was expected, what to do; exit code 2.

    The message is one line, whatever names and values it quotes.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\\n".join(message.splitlines()) or message)
