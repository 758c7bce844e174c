"""The command line: one small file a verb, each calling one library function."""

import logging
import os
import sys

from sae_tracks.errors import SaeTracksError, UsageError


def main() -> None:
    """Run ``sae-tracks``; errors are one line on stderr and exit status 1 (of usage: 2) unless ``--debug`` is given."""
    from sae_tracks.cli.app import app

    debug = "--debug" in sys.argv
    sys.argv = [sys.argv[0], *(argument for argument in sys.argv[1:] if argument != "--debug")]
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("sae_tracks").setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        app()
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except (SaeTracksError, OSError, MemoryError) as error:
        if debug:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UsageError):
            sys.stderr.write(f"error: {message}\n")
            sys.exit(2)
        sys.exit(f"error: {message}")
