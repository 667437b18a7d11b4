"""The one error that a user can cause."""


class JaxcharError(ValueError):
    """Something the user gave cannot be used; the message is one line: given, expected, what to do.

    The doors print it on standard error and leave with exit code 2.
    """
