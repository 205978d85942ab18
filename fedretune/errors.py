"""Errors that a person can act on."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. Commands print it without a traceback and exit with code 2.

    Parameters
    ----------
    message : str
        What is wrong, where, and how to mend it. May name files: it stays on this machine.
    public : str (default: "refused; the site's own log says why")
        What may be told to the server of a federation. Names no file, patient or path.
    """

    exit_code = 2

    def __init__(
        self, message: str, *, public: str = "refused; the site's own log says why"
    ) -> None:
        super().__init__(message)
        self.public = public


class RunFailedError(UserError):
    """A run that had begun ended without a result; what it saved can be resumed."""

    exit_code = 1


def one_of(what: str, value: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is allowed; otherwise raise a `UserError` that names what is."""
    names = sorted(allowed)
    if value in names:
        return value
    close = difflib.get_close_matches(value, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise UserError(f"Unknown {what} '{value}'.{hint} Allowed: {', '.join(names)}.")
