"""The command line: one small file a verb, each calling one library function."""

import io
import logging
import os
import sys

from sae_tracks.errors import SaeTracksError, UsageError, is_out_of_memory
from sae_tracks.files import CONTROLS

INTERRUPTED, CLOSED_PIPE, TERMINATED = 130, 141, 143  # what a shell reports of SIGINT, SIGPIPE and SIGTERM


def main() -> None:
    """Run ``sae-tracks``; errors are one line on stderr and exit status 1 (of usage: 2) unless ``--debug`` is given."""
    _open_standard_streams()
    from sae_tracks.cli.app import command
    from sae_tracks.cli.verb import ClosedPipe, Stopped

    debug = "--debug" in sys.argv
    sys.argv = [sys.argv[0], *(argument for argument in sys.argv[1:] if argument != "--debug")]
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sae_tracks").setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if it cannot write into the home folder
    try:
        try:
            command()
        finally:
            _flush()
    except ClosedPipe:  # the reader of stdout, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED_PIPE)
    except Stopped as stopped:
        logging.getLogger("sae_tracks").warning("%s", stopped)
        sys.exit(TERMINATED if stopped.terminated else INTERRUPTED)
    except (SaeTracksError, OSError, MemoryError, RuntimeError) as error:
        no_memory = is_out_of_memory(error)
        if debug or (isinstance(error, RuntimeError) and not no_memory):
            raise
        # what a file calls its fields could move the cursor or hide a line
        message = " ".join(CONTROLS.sub(" ", str(error)).split()) or type(error).__name__
        if no_memory:
            message = f"not enough memory ({message[:200]}): take fewer threads (-p) or smaller regions"
        if isinstance(error, UsageError):
            sys.stderr.write(f"error: {message}\n")
            sys.exit(2)
        sys.exit(f"error: {message}")


def _open_standard_streams() -> None:
    """Open the streams that the parent closed (``>&-``), so that no output file gets their numbers.

    What is printed to a closed stdout is an error, as it is for other programs.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    # with PYTHONUNBUFFERED Python drops what a short write leaves over, as on a full disk
    if sys.stdout is None or isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stdout.reconfigure(line_buffering=True)


def _flush() -> None:
    from sae_tracks.cli.verb import ClosedPipe

    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ClosedPipe from error
