"""Hand-written gradients against autograd, and the small pieces of the training loop."""

import pytest
import torch

from sae_tracks.sae import SAE
from sae_tracks.training.gradients import Gradients
from sae_tracks.training.losses import LOSSES
from sae_tracks.training.presets import PRESETS, TrainSettings
from sae_tracks.training.sae import fold, learning_rate, tangent

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
N, D, F, L1 = 40, 12, 48, 0.3

ORACLES = {  # each loss from its definition, differentiated by torch
    "l2norm": lambda x, error: error.norm(dim=1).mean(),
    "l2sq": lambda x, error: error.square().sum(dim=1).mean(),
    "nmse": lambda x, error: error.square().sum() / x.square().sum(),
}


def problem(dtype, seed):
    """Weights and a batch with a feature that never fires, a row of zeros and a row that is reconstructed exactly."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((D, F), (F,), (F, D), (D,))
    tensors = [0.5 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    tensors[1].abs_().neg_()
    tensors[1][7] = -1e4
    x = 2 * torch.randn(N, D, generator=generator, dtype=torch.float64)
    x[3], x[4] = 0, tensors[3]  # at b_dec no feature fires, so x^ = b_dec = x
    return SAE(*(t.to(dtype) for t in tensors)), x.to(dtype)


def autograd(sae, x, loss):
    """Both terms of the loss and the four gradients."""
    leaves = {name: getattr(sae, name).clone().requires_grad_() for name in NAMES}
    f = torch.relu((x - leaves["b_dec"]) @ leaves["W_enc"] + leaves["b_enc"])
    reconstruction = ORACLES[loss](x, f @ leaves["W_dec"] + leaves["b_dec"] - x)
    penalty = L1 * f.sum(dim=1).mean()
    (reconstruction + penalty).backward()
    return reconstruction.item(), penalty.item(), {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_autograd(dtype, tolerance, loss, seed):
    sae, x = problem(dtype, seed)
    reconstruction, penalty, expected = autograd(sae, x, loss)
    gradients = Gradients(sae, N, LOSSES[loss], L1)
    for _ in range(2):  # buffers are used again
        assert gradients(x).item() == pytest.approx(reconstruction, rel=tolerance)
        assert gradients.penalty == pytest.approx(penalty, rel=tolerance)
        for name in NAMES:
            ours = getattr(sae, name).grad
            assert (ours - expected[name]).norm() <= tolerance * expected[name].norm(), name
    assert not sae.W_enc.grad[:, 7].any() and not sae.b_enc.grad[7] and not sae.W_dec.grad[7].any()
    assert not gradients.error[4].any()


def test_the_buffers_hold_the_features_and_the_error():
    sae, x = problem(torch.float64, 0)
    gradients = Gradients(sae, N, LOSSES["l2sq"], L1)
    gradients(x)
    assert torch.allclose(gradients.features, sae.encode(x))
    assert torch.allclose(gradients.error, sae.decode(sae.encode(x)) - x)


def test_folding_the_scale_gives_the_same_function_of_raw_activations():
    sae, x = problem(torch.float64, 0)
    mean, scale = torch.randn(D, dtype=torch.float64), 0.37
    raw = fold(sae, mean, scale)
    f = sae.encode(scale * (x - mean))
    assert torch.allclose(raw.encode(x), f / scale)
    assert torch.allclose(raw.decode(f / scale), sae.decode(f) / scale + mean)
    assert torch.equal(raw.W_dec, sae.W_dec)


def test_the_part_along_the_decoder_is_removed_from_its_gradient():
    weight = torch.nn.functional.normalize(torch.randn(F, D, dtype=torch.float64))
    gradient = torch.randn(F, D, dtype=torch.float64)
    across = gradient - torch.stack([torch.dot(g, w) * w for g, w in zip(gradient, weight)])
    tangent(weight, gradient)
    assert torch.allclose(gradient, across)


def test_the_learning_rate_rises_over_the_first_twentieth_and_stays():
    settings = TrainSettings(lr=2.0, lr_warmup=0.05)
    rates = [learning_rate(step, 200, settings) for step in range(1, 201)]
    assert rates[:10] == pytest.approx([0.2 * i for i in range(1, 11)])
    assert set(rates[10:]) == {2.0}
    assert learning_rate(1, 3, settings) == 2.0


def test_the_papers_preset():
    paper = PRESETS["paper"]
    assert (paper.lr, paper.l1, paper.batch_size, paper.expansion, paper.lr_warmup) == (1e-6, 0.1, 2048, 32, 0.05)
    assert paper.loss == "l2norm" and not paper.scale_input and paper.first_bias == 0
