"""Motifs by what users call their source: a file of matrices, or a release of JASPAR."""

import re
from pathlib import Path

from sae_tracks.files import sha256
from sae_tracks.motifs.jaspar import jaspar_motifs
from sae_tracks.motifs.matrix import Motif
from sae_tracks.motifs.read import read_motifs

_RELEASE = re.compile(r"JASPAR\d{4}")


def named_motifs(text: str) -> tuple[list[Motif], dict[str, str]]:
    """The matrices of a file (JASPAR, PFM or MEME format), or of a release such as ``JASPAR2024``.

    A file of that name comes first. Of a release, the vertebrate CORE matrices are taken; see `jaspar_motifs`.

    Returns
    -------
    list of Motif, dict
        The motifs, and what provenance says of where they are from: ``file`` and its ``sha256``, or ``release``.
    """
    path = Path(text)
    if _RELEASE.fullmatch(text) and not path.exists():
        return jaspar_motifs(text), {"release": text}
    return read_motifs(path), {"file": path.name, "sha256": sha256(path)}
