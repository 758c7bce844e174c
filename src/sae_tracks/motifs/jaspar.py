"""JASPAR's matrices from the releases that pyjaspar ships: no download, classes and families included."""

from collections.abc import Iterable

import numpy as np

from sae_tracks.errors import SaeTracksError
from sae_tracks.motifs.matrix import Motif

RELEASE = "JASPAR2024"


def jaspar_motifs(release: str = RELEASE, *, collection: str = "CORE", tax_group: str = "vertebrates") -> list[Motif]:
    """The matrices of a JASPAR release, the latest version of each, ascending by matrix ID.

    Parameters
    ----------
    release : str
        ``JASPAR2024`` has 879 vertebrate CORE matrices. Releases differ, so one is named, never "the newest".

    Raises
    ------
    SaeTracksError
        pyjaspar is not installed, or does not have the release.
    """
    try:
        import pyjaspar
    except ImportError as error:
        raise SaeTracksError(
            "JASPAR's releases come with pyjaspar, which is not installed: pip install 'sae-tracks[motifs]', "
            "or give a file of matrices (sae-tracks fetch jaspar-matrices)"
        ) from error
    if release not in pyjaspar.jaspar_releases:
        raise SaeTracksError(f"no release {release!r} in pyjaspar: it has {', '.join(pyjaspar.jaspar_releases)}")
    database = pyjaspar.jaspardb(release=release)
    found = database.fetch_motifs(collection=collection, tax_group=[tax_group], all_versions=False)
    return sorted(map(_motif, found), key=lambda motif: motif.matrix_id)


def _motif(entry) -> Motif:
    counts = np.array([entry.counts[base] for base in "ACGT"], np.float64).T
    return Motif(entry.matrix_id, entry.name, counts, _joined(entry.tf_class), _joined(entry.tf_family))


def _joined(names: Iterable[str] | None) -> str:
    """A dimer has the class of each factor; one that both share is named once."""
    return "; ".join(dict.fromkeys(names or ()))
