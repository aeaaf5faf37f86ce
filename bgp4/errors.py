"""The errors that the command line tells in one line."""

__all__ = ["RunError", "UserInputError"]


class UserInputError(ValueError):
    """Something in the user's input is wrong.

    The message is one line, whatever it quotes: which file, key or frame, what was expected, what
    was found and what to do. The command line prints it and exits with 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(r"\n".join(message.splitlines()))


class RunError(RuntimeError):
    """Something failed on the way, and the input alone is not to blame.

    The message is one line: what failed, where, and how to go on. The command line prints it and
    exits with 1.
    """
