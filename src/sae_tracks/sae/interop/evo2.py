"""The SAE that was released with Evo 2: one matrix for both ways, trained by BatchTopK.

The notebook that came with it computes ``relu(x W + b_enc)``, without subtracting b_dec, keeps the ``k n`` largest of
the n rows it is given together, and decodes by ``f W^T + b_dec``. What one row keeps thus depends on the others, which
no function of a row can say; the k largest of each row are as many.
"""

import re

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae.interop import fold
from sae_tracks.sae.interop.stored import Stored
from sae_tracks.sae.model import SAE

NAMES = frozenset({"W", "b_enc", "b_dec"})
NOTE = "made for the k largest of all rows of a batch together; imported as the k largest of each row"


def read_evo2(stored: Stored, k: int | None) -> SAE:
    """The SAE as a ``topk``.

    Parameters
    ----------
    stored : Stored
        Tensors W (d_in, d_sae), b_enc and b_dec.
    k : int, optional
        Features a row; default: what the file's name says, ``...-k_64.pt``, since the tensors do not.
    """
    if k is None:
        told = re.search(r"k_(\d+)", stored.path.stem)
        if not told or int(told[1]) < 1:
            raise SaeTracksError(f"{stored.path} does not say how many features a row has: give --k (of Evo 2's: 64)")
        k = int(told[1])
    W = stored.take_matrix("W")
    d_in, d_sae = W.shape
    sae = fold.with_pre_bias(SAE(W, stored.take("b_enc", d_sae), W.T, stored.take("b_dec", d_in)))
    sae.k = k
    return sae
