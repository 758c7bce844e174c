"""From an SAE directory to the formats of other programs."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from sae_tracks.files import make_folder, write_provenance
from sae_tracks.sae.directory import save_sae
from sae_tracks.sae.interop.dictionary_learning import write_dictionary
from sae_tracks.sae.interop.free import check_free
from sae_tracks.sae.model import SAE

Target = Literal["saelens", "dictionary_learning"]


def export_sae(sae: SAE, out: Path, target: Target) -> str:
    """Write an SAE so that another program opens it and computes the same features.

    Parameters
    ----------
    sae : SAE
        Its statistics have no place in either format and are left out.
    out : path
        A folder that holds no SAE yet.
    target : str
        ``saelens``, for ``cfg.json`` and ``sae_weights.safetensors``, or ``dictionary_learning``, for ``ae.pt`` and
        ``config.json``.

    Returns
    -------
    str
        The architecture or class that it has there.
    """
    check_free(out)
    make_folder(out)
    if target == "dictionary_learning":
        name = write_dictionary(sae, out)
    else:
        save_sae(replace(sae, stats=None), out)
        name = sae.architecture
    write_provenance(out, sae_sha256=sae.checksum, written_for=target)
    return name
