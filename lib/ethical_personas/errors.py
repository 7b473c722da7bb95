"""The one exception a user is meant to read."""

import sys


class CompanionError(Exception):
    """Bad input or a missing step, told in one line: where, what, and the mend."""

    def __str__(self) -> str:
        """One line, whatever a name that the user wrote holds."""
        return " ".join(super().__str__().splitlines())

    def _render_traceback_(self):
        """Jupyter's hook: show the line itself, not a traceback into the library."""
        return [f"{type(self).__name__}: {self}"]


def _show(kind, error, trace):
    """One line for an error of ours that nobody caught (a fault in data/study.yaml is found while modules load)."""
    if issubclass(kind, CompanionError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _show
