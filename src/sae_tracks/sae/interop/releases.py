"""Formats of single programs: the SAE that was released with Evo 2, and sparsify's.

**Evo 2**: one matrix for both ways, trained by BatchTopK. The notebook that came with it computes ``relu(x W + b_enc)``
without subtracting b_dec, keeps the ``k n`` largest of the n rows it is given together, and decodes by
``f W^T + b_dec``. What one row keeps thus depends on the others, which no function of a row can express. The k largest
of each row are as many.

**sparsify** (EleutherAI): ``cfg.json`` with ``sae.safetensors``, a TopK on ``x - b_dec``.
"""

import re

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import read_json
from sae_tracks.sae.directory import CONFIG
from sae_tracks.sae.interop.weights import Stored, with_pre_bias
from sae_tracks.sae.model import SAE

EVO2_NAMES = frozenset({"W", "b_enc", "b_dec"})
EVO2_NOTE = "made for the k largest of all rows of a batch together; imported as the k largest of each row"
SPARSIFY = "sae.safetensors"


def read_evo2(stored: Stored, k: int | None) -> SAE:
    """The SAE as a ``topk``.

    Parameters
    ----------
    stored : Stored
        Tensors W (d_in, d_sae), b_enc and b_dec.
    k : int, optional
        Features per row; default: what the file's name says (``...-k_64.pt``), because the tensors do not.
    """
    if k is None:
        named = re.search(r"k_(\d+)", stored.path.stem)
        if not named or int(named[1]) < 1:
            raise SaeTracksError(f"{stored.path} does not say how many features a row has: give --k (of Evo 2's: 64)")
        k = int(named[1])
    W = stored.take_matrix("W")
    d_in, d_sae = W.shape
    sae = with_pre_bias(SAE(W, stored.take("b_enc", d_sae), W.T, stored.take("b_dec", d_in)))
    sae.k = k
    return sae


def read_sparsify(stored: Stored) -> SAE:
    """An SAE of sparsify as a ``topk``.

    Parameters
    ----------
    stored : Stored
        Tensors encoder.weight (d_sae, d_in), encoder.bias, W_dec (d_sae, d_in) and b_dec; ``cfg.json`` lies beside.

    Raises
    ------
    SaeTracksError
        It is a transcoder, has a skip connection or another activation than TopK, or k is no whole number from 1.
    """
    path = stored.path.with_name(CONFIG)
    config = read_json(path)
    if not isinstance(config, dict):
        raise SaeTracksError(f"{path} is no configuration of sparsify: it holds no JSON object")
    for key in ("transcode", "skip_connection", "signed"):
        if config.get(key):
            raise SaeTracksError(f"{path}: {key} is set; only an SAE that is a TopK of its input can be imported")
    if (activation := config.get("activation", "topk")) != "topk":
        raise SaeTracksError(f"{path}: activation {activation!r} cannot be imported; topk can")
    k = config.get("k")
    if type(k) is not int or k < 1:
        raise SaeTracksError(f"{path}: k is {k!r}; a topk needs a whole number from 1")
    encoder = stored.take_matrix("encoder.weight")
    d_sae, d_in = encoder.shape
    W_dec = stored.take("W_dec", d_sae, d_in)
    sae = SAE(encoder.T, stored.take("encoder.bias", d_sae), W_dec, stored.take("b_dec", d_in), k=k)
    stored.finish()
    return sae
