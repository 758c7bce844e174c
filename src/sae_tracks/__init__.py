"""Sparse autoencoder features of gene language models as genome tracks."""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sae_tracks.features import FeatureBlock, stream_features
    from sae_tracks.genome import Genome
    from sae_tracks.lm import load_lm
    from sae_tracks.reading.reader import Reading, read
    from sae_tracks.regions import GenomicRegion
    from sae_tracks.sae import load_sae
    from sae_tracks.tracks import write_bigwigs

_HOME = {  # loaded when first asked for, so that importing the package stays instant
    "FeatureBlock": "features",
    "Genome": "genome",
    "GenomicRegion": "regions",
    "Reading": "reading.reader",
    "load_lm": "lm",
    "load_sae": "sae",
    "read": "reading.reader",
    "stream_features": "features",
    "write_bigwigs": "tracks",
}
__all__ = [
    "FeatureBlock",
    "Genome",
    "GenomicRegion",
    "Reading",
    "load_lm",
    "load_sae",
    "read",
    "stream_features",
    "write_bigwigs",
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'sae_tracks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sae_tracks.{_HOME[name]}"), name)
