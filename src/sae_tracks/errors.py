"""The exceptions that users see; the message is one line that names the mistake and the remedy."""


class SaeTracksError(ValueError):
    """Bad input or an impossible request; its message is one line, printed as ``error: ...`` with exit status 1."""


class UsageError(SaeTracksError):
    """Options that do not go together; the exit status is 2, as for unknown options."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it: a run stops as it does for Ctrl-C."""
