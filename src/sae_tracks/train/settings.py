"""Settings of a training run, and the sets of them that have a name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a sparse autoencoder is trained.

    The defaults train well on a million rows: ``docs/training.md`` says what they reach, and beside what.
    """

    arch: str = "topk"
    """How features come from pre-activations: a key of `RECIPES`."""
    k: int = 0
    """Features per row (``topk``), or per row on average over a batch (``batchtopk``); 0: d_model / 8."""
    l1: float = 3.0
    """Weight of the mean over rows of the sum of features; of ``standard`` alone."""
    l0_coefficient: float = 1.0
    """Weight of the mean over rows of the number of features; of ``jumprelu`` alone."""
    bandwidth: float = 0.5
    """Width of the kernel through which thresholds are learned; of ``jumprelu`` alone."""
    loss: str = "l2sq"
    """Reconstruction loss: a key of `sae_tracks.train.step.LOSSES`."""
    lr: float = 6e-3
    """Peak learning rate of Adam."""
    lr_warmup: float = 0.05
    """Share of the steps in which the learning rate rises linearly."""
    lr_decay: float = 0.2
    """Share of the steps, the last, in which it falls linearly to 0."""
    dead_after: int = 30_000
    """Rows without firing after which a feature learns what the others leave over; not of ``standard``."""
    expansion: int = 32
    """Features per input dimension: the dictionary has ``expansion * d_model`` of them."""
    batch_size: int = 2048
    """Rows per step."""
    scale_input: bool = True
    """Scale activations to a mean squared distance of d_model from their mean; folded into the biases when saved."""
    first_bias: float = 0.0
    """b_enc at the start; below 0, fewer features fire."""
    first_threshold: float = 0.0
    """Thresholds at the start, 0 or more; of ``jumprelu`` alone."""
    first_encoder: float = 0.7
    """The encoder at the start is this times the transposed decoder; 0 stands for ``2 d_model / d_sae``, with which x^
    is about x while half of the features fire."""
    sparse_below: float = 0.2
    """Share of non-zeros up to which the backward pass goes over them alone: ``benchmarks/sae_step.py --sweep``."""


RECIPES = {  # a default for each architecture
    "standard": TrainSettings(arch="standard", lr=3e-3, first_bias=-2.0, first_encoder=1.0),
    "topk": TrainSettings(),
    "batchtopk": TrainSettings(arch="batchtopk", lr=1e-2),
    "jumprelu": TrainSettings(
        arch="jumprelu", l0_coefficient=0.5, first_bias=-2.0, first_threshold=0.5, first_encoder=1.0
    ),
}
ARCHS = tuple(RECIPES)
PAPER = TrainSettings(  # arXiv 2507.07486
    arch="standard", loss="l2norm", l1=0.1, lr=1e-6, lr_decay=0.0, scale_input=False, first_encoder=0.0
)
