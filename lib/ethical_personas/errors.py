"""The one exception a user is meant to read, and what must not be read in it."""

from __future__ import annotations

import os
import re
import sys

SECRET = re.compile(r"(?i)(key|token|secret|password)$")  # names of environment variables
SHAPES = {
    r"(?<=//)[^/\s@]+@": "[hidden]@",  # user and password in a URL
    r"(?i)\b(bearer|basic)\s+[\w.~+/*=-]{6,}": r"\1 [hidden]",
    r"\bsk-[\w*-]{6,}": "[hidden]",
    r"(?i)([?&](?:[\w-]*key|token|secret|password|sig(?:nature)?)=)[^&\s'\"]+": r"\1[hidden]",
}


def redact(text: str) -> str:
    """A text without the secrets of the environment, and without what looks like a credential.

    Every text of a library or server that this project shows or writes down goes through here.
    """
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value.strip()) >= 6:
            text = text.replace(value.strip(), "[hidden]")
    for shape, shown in SHAPES.items():
        text = re.sub(shape, shown, text)
    return text


class CompanionError(Exception):
    """Bad input or a missing step, told in one line: where, what, and the fix."""

    def __str__(self) -> str:
        """One line without secrets, whatever a name that the user wrote holds."""
        return redact(" ".join(super().__str__().splitlines()))

    def _render_traceback_(self):
        """Jupyter's hook: show the line itself, not a traceback into the library."""
        return [f"{type(self).__name__}: {self}"]


def first_line(error: Exception) -> str:
    """The first line of another library's error, and the one that it announces by a colon, for a line of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 1 + lines[0].endswith(":")])


def _show(kind, error, trace):
    """One line for an error of ours that nobody caught (a fault in data/study.yaml is found while modules load)."""
    if issubclass(kind, CompanionError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _show
