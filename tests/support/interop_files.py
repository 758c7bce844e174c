"""SAEs of other programs in the exact layout of their files, and their published formulas stated again in float64."""

import collections

import numpy as np
import torch

D_IN, D_SAE = 6, 15


def draw(*shape, seed=0):
    """Numbers of a normal distribution, as float32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(*, unit=False):
    """The four tensors of an SAE, our way round."""
    W_dec = draw(D_SAE, D_IN, seed=3)
    W_dec = W_dec / W_dec.norm(dim=1, keepdim=True) if unit else W_dec
    return {
        "W_enc": draw(D_IN, D_SAE, seed=1),
        "b_enc": draw(D_SAE, seed=2),
        "W_dec": W_dec,
        "b_dec": draw(D_IN, seed=4),
    }


def linear(b_dec, *, unit=False, **more):
    """A state dict of two ``nn.Linear``, (out, in), as torch gives it; `b_dec` names the decoder's bias."""
    w = weights(unit=unit)
    state = {"encoder.weight": w["W_enc"].T.contiguous(), "encoder.bias": w["b_enc"]}
    state |= {"decoder.weight": w["W_dec"].T.contiguous(), b_dec: w["b_dec"]}
    return collections.OrderedDict(state | more)


def matrices(**more):
    """A state dict of bare matrices."""
    return collections.OrderedDict(weights() | more)


def activations(n=400):
    """(n, D_IN) rows to encode."""
    return draw(n, D_IN, seed=9) * 1.5


def pre_activations(x, w, *, pre_bias):
    """h in float64: of x - b_dec or of x."""
    x, W, b, b_dec = (np.asarray(t, np.float64) for t in (x, w["W_enc"], w["b_enc"], w["b_dec"]))
    return (x - b_dec if pre_bias else x) @ W + b


def largest(f, k):
    """The k largest of each row, else 0, by sorting."""
    out = np.zeros_like(f)
    for row, kept in zip(f, out, strict=True):
        for column in sorted(range(len(row)), key=lambda j: -row[j])[:k]:
            kept[column] = row[column]
    return out


def decoded(f, w):
    """The reconstruction in float64."""
    return f @ np.asarray(w["W_dec"], np.float64) + np.asarray(w["b_dec"], np.float64)


def assert_computes(sae, x, features, reconstruction):
    """Both to 1e-5 of their size, and the same features active but where one is near its border."""
    f = sae.encode(x)
    assert np.abs(f.numpy() - features).max() <= 1e-5 * np.abs(features).max()
    assert (features > 0).any() and ((f.numpy() > 0) == (features > 0)).mean() > 0.999
    x_hat = sae.decode(f).numpy()
    assert np.abs(x_hat - reconstruction).max() <= 1e-5 * np.abs(reconstruction).max()
