"""SpliceAI's architecture: dilated convolutions of 32 channels. Skips from a trunk are summed; 3 classes per base."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from sae_tracks.errors import SaeTracksError

WIDTH = 32
CLASSES = ("none", "acceptor", "donor")
GROUP = 4  # blocks from one skip to the next
KERNELS, DILATIONS = (11, 11, 21, 41), (1, 4, 10, 25)  # per group
Weights = Mapping[str, torch.Tensor]  # by the names of `SpliceNet`
State = dict[str, torch.Tensor]  # "trunk" and "skip" (the sum of skips so far), each (32, n)


class Norm(nn.Module):
    """Batch normalisation by its running statistics: a factor and a summand per channel."""

    def __init__(self, weights: Weights, name: str, eps: float) -> None:
        super().__init__()
        gain, bias, mean, variance = (weights[f"{name}.{part}"] for part in "gbmv")
        scale = gain / (variance + eps).sqrt()
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(bias - mean * scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(self.shift[:, None], x, self.scale[:, None])


class Block(nn.Module):
    """What a residual block adds to the trunk: twice norm, activation and convolution."""

    def __init__(self, weights: Weights, index: int, eps: float, slope: float) -> None:
        super().__init__()
        self.slope, dilation = slope, DILATIONS[index // GROUP]
        self.norms = nn.ModuleList(Norm(weights, f"{index}.bn{i}", eps) for i in (1, 2))
        self.convs = nn.ModuleList(_conv(weights, f"{index}.c{i}", dilation) for i in (1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = conv(F.leaky_relu(norm(x), self.slope))
        return x


class SpliceNet(nn.Module):
    """A whole network, frozen.

    Parameters
    ----------
    weights : mapping from str to float32 tensors
        ``in``, ``sk0``, ``sk1`` ..., ``head``, ``0.c1``, ``0.c2``, ``1.c1`` ... are convolutions, with ``.w`` (out, in,
        kernel) and ``.b``; ``0.bn1``, ``0.bn2`` ... are norms, with ``.g`` (gain), ``.b`` (bias), ``.m`` and ``.v``
        (running mean and variance).
    eps : float
        Of the norms.
    slope : float
        The activation multiplies negative values by it.
    """

    def __init__(self, weights: Weights, eps: float, slope: float = 0.0) -> None:
        super().__init__()
        groups = sum(f"sk{i}.w" in weights for i in range(1, len(KERNELS) + 1))
        _check(weights, _shapes(groups))
        self.first, self.head = _conv(weights, "in"), _conv(weights, "head")
        self.skips = nn.ModuleList(_conv(weights, f"sk{i}") for i in range(groups + 1))
        self.blocks = nn.ModuleList(Block(weights, i, eps, slope) for i in range(GROUP * groups))
        self.eval().requires_grad_(False)

    @property
    def places(self) -> list[str]:
        """Where states can be read, in the order of computing: ``skip.0``, ``trunk.1`` ... ``trunk.4``, ``skip.1``."""
        blocks = [f"trunk.{i}" for i in range(1, len(self.blocks) + 1)]
        groups = [blocks[i : i + GROUP] for i in range(0, len(blocks), GROUP)]
        return ["skip.0", *(place for i, group in enumerate(groups, 1) for place in (*group, f"skip.{i}"))]

    def reach(self, place: str) -> int:
        """How many bases on either side of a base its state depends on."""
        kind, index = place.split(".")
        blocks = int(index) * (GROUP if kind == "skip" else 1)
        return sum((KERNELS[i // GROUP] - 1) * DILATIONS[i // GROUP] for i in range(blocks))

    def begin(self, one_hot: torch.Tensor) -> State:
        """Return the state before `places`, of a (4, n) sequence."""
        trunk = self.first(one_hot)
        return {"trunk": trunk, "skip": torch.zeros_like(trunk)}

    def step(self, state: State, place: str) -> None:
        """Compute the state at a place from that at the place before."""
        kind, index = place.split(".")
        part = self.skips[int(index)] if kind == "skip" else self.blocks[int(index) - 1]
        state[kind] = state[kind] + part(state["trunk"])

    def classify(self, state: State) -> torch.Tensor:
        """(3, n) log probabilities of `CLASSES` from the state at the last place."""
        return self.head(state["skip"]).log_softmax(0)


def _conv(weights: Weights, name: str, dilation: int = 1) -> nn.Conv1d:
    """Return a convolution that keeps the length; outside the sequence are zeros."""
    width, channels, kernel = weights[f"{name}.w"].shape
    made = nn.Conv1d(channels, width, kernel, padding="same", dilation=dilation)
    made.weight, made.bias = nn.Parameter(weights[f"{name}.w"]), nn.Parameter(weights[f"{name}.b"])
    return made


def _shapes(groups: int) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights of a network of so many groups of blocks."""
    convs = {"in": (WIDTH, 4, 1), "head": (len(CLASSES), WIDTH, 1)}
    convs |= {f"sk{i}": (WIDTH, WIDTH, 1) for i in range(groups + 1)}
    blocks = range(GROUP * groups)
    convs |= {f"{i}.c{j}": (WIDTH, WIDTH, KERNELS[i // GROUP]) for i in blocks for j in (1, 2)}
    norms = {f"{i}.bn{j}.{part}": (WIDTH,) for i in blocks for j in (1, 2) for part in "gbmv"}
    return {
        f"{name}.{part}": shape[: 3 if part == "w" else 1] for name, shape in convs.items() for part in "wb"
    } | norms


def _check(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not those of SpliceAI's architecture."""
    for name in sorted({*shapes, *weights}):
        found = tuple(weights[name].shape) if name in weights else "missing"
        wanted = shapes.get(name, "no such weight")
        if found != wanted:
            raise SaeTracksError(f"not a network of SpliceAI's architecture: {name} is {found}, expected {wanted}")
        if not torch.isfinite(weights[name]).all():
            raise SaeTracksError(f"the weights are damaged: {name} is not finite")
