"""``python -m sae_tracks`` is ``sae-tracks``."""

from sae_tracks.cli import main

if __name__ == "__main__":
    main()
