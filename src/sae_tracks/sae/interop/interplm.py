"""InterPLM: ``ae.pt`` and ``ae_normalized.pt``, whose features are divided by their maxima."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae.interop import fold
from sae_tracks.sae.interop.classes import LAYOUTS, classes_of
from sae_tracks.sae.interop.dictionary_learning import has_unit_decoder
from sae_tracks.sae.interop.stored import Stored
from sae_tracks.sae.model import SAE

NORMALIZED, CONFIG = "ae_normalized.pt", "config.yaml"
FACTORS, ROW_NORM = "activation_rescale_factor", "normalize_to_sqrt_d"
TRAINERS = {"TopKTrainer": "AutoEncoderTopK", "BatchTopKTrainer": "BatchTopKSAE"}


def is_interplm(stored: Stored) -> bool:
    """Whether the file's tensors, its name or the configuration beside it are InterPLM's."""
    marks = {FACTORS, ROW_NORM} & stored.names
    return bool(marks) or re.fullmatch(r"ae_(un)?normalized\.pt", stored.path.name) is not None or _config(stored) != ""


def read_interplm(stored: Stored) -> SAE:
    """An autoencoder of InterPLM; its features are divided by the maxima that the file brings.

    Those maxima are then 1 and become the SAE's statistics. A feature that InterPLM never saw active keeps its weights
    and has a maximum of 0. Of a TopK the features stay as they are, since scaling them would change which are the k
    largest; its maxima are the statistics.

    Parameters
    ----------
    stored : Stored
        Of the file; one from before InterPLM 1.0 that is called ``ae_normalized.pt`` has the maxima folded in already.

    Raises
    ------
    SaeTracksError
        The tensors are of no class known, the file reads rows scaled to one norm, or a maximum is below 0.
    """
    path = stored.path
    if ROW_NORM in stored.names and stored.take_number(ROW_NORM):
        raise SaeTracksError(f"{path}: {ROW_NORM} treats each row by its own norm, which no weights can do")
    factors = stored.left.pop(FACTORS, None)
    sae = LAYOUTS[_class(stored)].read(stored)
    stored.finish()
    if factors is None:
        folded = path.name == NORMALIZED
        return replace(sae, stats=_stats((sae.W_enc != 0).any(0).float())) if folded else sae
    maxima = Stored(path, {FACTORS: factors}).take(FACTORS, sae.d_sae)
    if (maxima < 0).any():
        raise SaeTracksError(f"{path}: {FACTORS} is negative; it holds the features' maxima")
    if torch.allclose(maxima, torch.ones_like(maxima)):  # what InterPLM starts from
        return sae
    if sae.k is not None:
        return replace(sae, stats=_stats(maxima))
    seen = maxima > 0
    sae = fold.scale_features(sae, torch.where(seen, maxima, 1).reciprocal())
    return replace(sae, stats=_stats(seen.float()))


def read_unmarked(stored: Stored) -> SAE:
    """A file that may be of either program, where it does not matter which."""
    name = _class(stored)
    sae = LAYOUTS[name].read(stored)
    stored.finish()
    if name == "AutoEncoder" and not has_unit_decoder(sae):
        raise SaeTracksError(
            f"{stored.path}: its directions are not of length 1, and dictionary_learning makes them so where InterPLM "
            "does not: put its config.json or config.yaml beside it"
        )
    return sae


def _class(stored: Stored) -> str:
    """The one class that the tensors are of; the trainer tells TopK from BatchTopK."""
    found = classes_of(stored.names)
    if not found:
        there = ", ".join(sorted(stored.names)) or "nothing"
        raise SaeTracksError(f"{stored.path} is of no autoencoder known here; it holds {there}")
    trainer = re.search(r"^\s*trainer_name:\s*['\"]?(\w+)", _config(stored), re.MULTILINE)
    told = TRAINERS.get(trainer[1]) if trainer else None
    if len(found) > 1 and told not in found:
        raise SaeTracksError(
            f"{stored.path} is a TopK or a BatchTopK, which its tensors do not tell: put its config.json "
            "(dictionary_learning) or config.yaml (InterPLM) beside it"
        )
    return told if told in found else found[0]


def _config(stored: Stored) -> str:
    """The text of ``config.yaml``; it is searched, not loaded, since YAML can run code as a pickle can."""
    path: Path = stored.path.with_name(CONFIG)
    return path.read_text(errors="replace") if path.is_file() else ""


def _stats(maxima: torch.Tensor) -> pd.DataFrame:
    """Statistics of which only the maxima are known."""
    columns = {"max": maxima.numpy(), "mean": np.float32("nan"), "density": np.float32("nan")}
    stats = pd.DataFrame({"feature": np.arange(len(maxima), dtype=np.int32), **columns})
    return stats.assign(dead=stats["max"] == 0)
