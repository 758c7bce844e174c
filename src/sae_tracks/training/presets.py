"""Settings of a training run, and the two sets of them that have a name."""

from dataclasses import dataclass

ARCHS = ("standard", "topk", "batchtopk", "jumprelu")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a sparse autoencoder is trained.

    The defaults train well on a few hundred thousand rows: the bundled model's activations (d_model 128) reach an L0 of
    about d_model / 8 at an FVU near 0.2, with hardly a dead feature, in 400 steps.
    """

    arch: str = "standard"
    """How features come from pre-activations: one of `ARCHS`."""
    loss: str = "l2sq"
    """Reconstruction loss: a name of `sae_tracks.training.losses.LOSSES`."""
    l1: float = 3.0
    """Weight of the mean over rows of the sum of features; of ``standard`` alone."""
    l0_coefficient: float = 1.0
    """Weight of the mean over rows of the number of features; of ``jumprelu`` alone."""
    bandwidth: float = 0.05
    """Width of the kernel through which thresholds are learned; of ``jumprelu`` alone."""
    k: int = 16
    """Features a row, of ``topk``; on average over a batch, of ``batchtopk``."""
    lr: float = 3e-3
    """Learning rate of Adam after the warm-up; constant."""
    lr_warmup: float = 0.05
    """Share of the steps in which the learning rate rises linearly."""
    expansion: int = 32
    """Features an input channel: the dictionary has ``expansion * d_model`` of them."""
    batch_size: int = 2048
    """Rows a step."""
    scale_input: bool = True
    """Scale activations to a mean squared distance of d_model from their mean; folded into the biases when saved."""
    sparse_below: float = 0.08
    """Share of non-zeros up to which the backward pass goes over them alone; see ``benchmarks/sae_step.py``."""
    first_bias: float = -2.0
    """b_enc at the start. Below 0 the encoder starts as the transposed decoder, so that few features fire; at 0 as
    ``2 d_model / d_sae`` times that, so that all fire on half of the rows and x^ is about x."""


PRESETS = {
    "default": TrainSettings(),
    "paper": TrainSettings(loss="l2norm", l1=0.1, lr=1e-6, scale_input=False, first_bias=0.0),  # arXiv 2507.07486
}
