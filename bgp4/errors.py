"""The one error that is the user's to mend."""

__all__ = ["UserInputError"]


class UserInputError(ValueError):
    """Something in the user's input is wrong.

    The message is one line: which file, key or frame, what was expected, what was found and what
    to do. The command line prints it and exits with 2.
    """
