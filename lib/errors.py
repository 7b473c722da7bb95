"""The one exception a user is meant to read."""


class CompanionError(Exception):
    """Bad input or a missing step, told in one line: where, what, and the mend."""

    def _render_traceback_(self):
        """Jupyter's hook: show the line itself, not a traceback into the library."""
        return [f"{type(self).__name__}: {self}"]
