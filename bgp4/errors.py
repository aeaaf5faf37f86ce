"""The errors that the command line reports in one line."""

__all__ = ["RunError", "UserInputError"]


class UserInputError(ValueError):
    """Something in the user's input is wrong.

    The message is one line, whatever it quotes: which file, key or frame, what was expected, what
    was found and what to do. The command line prints it and exits with 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(r"\n".join(message.splitlines()))


class RunError(RuntimeError):
    """Something failed during the work, and not because of the input alone.

    The message is one line: what failed, where, and what to do. The command line prints it and
    exits with 1.
    """
