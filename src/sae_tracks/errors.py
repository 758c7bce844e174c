"""The exceptions that users see; the message is one line that names the mistake and the remedy."""

CLEAR_ERRORS = (OSError, ValueError, RuntimeError, ImportError)  # their text needs no name of a class in front


class SaeTracksError(ValueError):
    """Bad input or an impossible request; its message is one line, printed as ``error: ...`` with exit status 1."""


class UsageError(SaeTracksError):
    """Options that do not go together; the exit status is 2, as for unknown options."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it: a run stops as it does for Ctrl-C."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short; torch's are plain RuntimeErrors."""
    short = ("can't allocate memory", "out of memory", "Cannot allocate memory")
    return isinstance(error, MemoryError) or any(words in str(error) for words in short)


def first_line(error: Exception) -> str:
    """Return an error of another library in one line."""
    line, *_ = str(error).strip().splitlines() or [""]
    if line and isinstance(error, CLEAR_ERRORS):
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
