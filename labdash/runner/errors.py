"""What ends a start."""


class CannotStart(Exception):  # noqa: N818 - named for what it says to the user
    """LabDash cannot start or do what was asked now; the message is one line for the user."""


class Stopped(Exception):  # noqa: N818 - no error: the user or the system asked for the end
    """An end was asked for while something was waited for."""
