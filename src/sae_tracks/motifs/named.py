"""Motifs by what users call their source: a file of matrices, or a release of JASPAR."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sae_tracks.errors import SaeTracksError
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


def chosen_motifs(motifs: Sequence[Motif], source: dict[str, str], wanted: Iterable[str]) -> list[Motif]:
    """Those of `named_motifs` that have the wanted matrix IDs, in the order of their source.

    Raises
    ------
    SaeTracksError
        There is no such matrix; the error names other versions of it, where there are some.
    """
    where = source.get("file") or source["release"]
    wanted, known = set(wanted), {motif.matrix_id for motif in motifs}
    for name in sorted(wanted - known):
        near = sorted(i for i in known if i.partition(".")[0] == name.partition(".")[0])
        hint = f"it has {', '.join(near)}" if near else f"its {len(known)} IDs look like {min(known)}"
        raise SaeTracksError(f"no matrix {name!r} in {where}: {hint}")
    return [motif for motif in motifs if motif.matrix_id in wanted]
