"""The error of a request that is not served: one line, and a status of HTTP."""

from jaxchar.errors import JaxcharError

MALFORMED, FORBIDDEN, UNKNOWN, TOO_SLOW, TOO_LARGE, WRONG_TYPE, BUSY = 400, 403, 404, 408, 413, 415, 503
LONG_HEAD = 431


class Refusal(JaxcharError):
    """A request that is not served."""

    def __init__(self, message: str, status: int = MALFORMED) -> None:
        """Take the message.

        Args:
            message: one line: what was given, what was expected, what to do.
            status: of the answer.
        """
        super().__init__(message)
        self.status = status
