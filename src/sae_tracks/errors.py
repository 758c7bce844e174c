"""The one exception that users see: a line that says what is wrong and what to do."""


class SaeTracksError(ValueError):
    """Bad input or an impossible request; its message is one line, printed as ``error: ...`` with exit status 1."""
