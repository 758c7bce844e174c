"""UCSC track hubs: written over a folder of tracks, and checked by UCSC's rules."""

from sae_tracks.browsers.hub.check import check_hub
from sae_tracks.browsers.hub.names import Match, read_matches
from sae_tracks.browsers.hub.stanzas import Finding
from sae_tracks.browsers.hub.write import NO_EMAIL, Hub, write_hub

__all__ = ["NO_EMAIL", "Finding", "Hub", "Match", "check_hub", "read_matches", "write_hub"]
