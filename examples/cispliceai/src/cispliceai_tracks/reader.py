"""Splice networks as `sae_tracks.GeneLM`: the trunk after a block, or the sum of skips, is read at every base."""

import copy
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cispliceai_tracks.network import CLASSES, WIDTH, SpliceNet
from cispliceai_tracks.weights import read_graph, read_openspliceai, read_safetensors
from sae_tracks.dna import codes
from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.device import resolve_device
from sae_tracks.lm.protocol import check_length, weights_checksum
from sae_tracks.lm.untrained import Kind, untrained_id

PACKAGE, VERSION, GRAPH = "cispliceai", "1.2.2", "cispliceai/data/CI-SpliceAI.pb"
NETWORKS = 5  # in the graph
OPEN_EPS, OPEN_SLOPE = 1e-5, 0.1  # of OpenSpliceAI: torch's default, and its leaky ReLU
MAX_LENGTH = 100_000
ONE_HOT = torch.eye(5)[:, :4]  # letters other than A, C, G, T are zeros


class SpliceReader:
    """A splice network, read at one place. See `sae_tracks.GeneLM`.

    Beyond the ends of a sequence are zeros, as many as the network reaches, as in the original. So the bases within
    reach of the end of a window are not what they are in the middle of a longer one: give windows a context.
    """

    revision, architecture, d_model, max_length, causal = None, "spliceai", WIDTH, MAX_LENGTH, False
    output_names = CLASSES

    def __init__(
        self, net: SpliceNet, model_id: str, layer: int | None, hook: str | None, device: torch.device
    ) -> None:
        place = hook if layer is None else f"trunk.{layer}"
        if place not in net.places:
            raise SaeTracksError(
                f"{model_id} has no {place!r}: layers are 1 to {len(net.blocks)}, hooks {', '.join(net.places)}"
            )
        self.net, self.device = net.to(device), device
        self.model_id, self.layer, self.hook_name = model_id, layer, place
        self.checksum = weights_checksum(net)

    @torch.inference_mode()
    def activations(self, sequence: bytes) -> torch.Tensor:
        """See `GeneLM.activations`."""
        check_length(self, sequence)
        pad = self.net.reach(self.hook_name)
        state = self.net.begin(self._one_hot(sequence, pad))
        for place in self.net.places[: self.net.places.index(self.hook_name) + 1]:
            self.net.step(state, place)
        return _inside(state[self._kind], pad).T.contiguous().cpu()

    @torch.inference_mode()
    def outputs(self, sequence: bytes, activations: torch.Tensor | None = None) -> torch.Tensor:
        """See `sae_tracks.lm.outputs.OffersOutputs`."""
        check_length(self, sequence)
        pad = self.net.reach(self.net.places[-1])
        state = self.net.begin(self._one_hot(sequence, pad))
        for place in self.net.places:
            self.net.step(state, place)
            if place == self.hook_name and activations is not None:
                _inside(state[self._kind], pad).copy_(activations.T)
        return _inside(self.net.classify(state), pad).T.contiguous().cpu()

    def token_starts(self, sequence: bytes) -> NDArray[np.bool_]:
        """See `GeneLM.token_starts`: each base is a token."""
        return np.ones(len(sequence), bool)

    def untrained(self, kind: Kind, seed: int) -> "SpliceReader":
        """See `OffersUntrained.untrained`. New weights are torch's for convolutions; norms change nothing."""
        net = copy.deepcopy(self.net).cpu()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            (_permute if kind == "permuted" else _renew)(net)
        return SpliceReader(net, untrained_id(self, kind, seed), self.layer, self.hook_name, self.device)

    @property
    def _kind(self) -> str:
        return self.hook_name.split(".")[0]

    def _one_hot(self, sequence: bytes, pad: int) -> torch.Tensor:
        """(4, n + 2 pad)."""
        hot = ONE_HOT[torch.from_numpy(codes(sequence).astype(np.int64))].T
        return nn.functional.pad(hot, (pad, pad)).to(self.device)


def _inside(x: torch.Tensor, pad: int) -> torch.Tensor:
    return x[:, pad : x.shape[1] - pad]


def _permute(net: SpliceNet) -> None:
    for parameter in net.parameters():
        parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].view_as(parameter))


def _renew(net: SpliceNet) -> None:
    for name, parameter in net.named_parameters():
        if name.endswith("scale"):
            parameter.fill_(1)
        elif name.endswith("shift"):
            parameter.zero_()
    for module in net.modules():
        if isinstance(module, nn.Conv1d):
            module.reset_parameters()


def load_cispliceai(
    argument: str, layer: int | None, *, hook: str | None, revision: str | None, device: str
) -> SpliceReader:
    """``cispliceai:1`` to ``cispliceai:5``, or ``cispliceai:FILE.safetensors``; see `sae_tracks.load_lm`."""
    if argument.isdecimal() and 1 <= int(argument) <= NETWORKS:
        weights, eps = read_graph(_installed_graph(), int(argument))
    elif argument.endswith(".safetensors"):
        weights, eps = read_safetensors(Path(argument))
    else:
        raise SaeTracksError(f"cispliceai:{argument}: give a number from 1 to {NETWORKS}, or a file of safetensors")
    return _reader(SpliceNet(weights, eps), f"cispliceai:{argument}", layer, hook, revision, device)


def load_openspliceai(
    argument: str, layer: int | None, *, hook: str | None, revision: str | None, device: str
) -> SpliceReader:
    """``openspliceai:FILE.pt``, a state_dict that OpenSpliceAI publishes; see `sae_tracks.load_lm`."""
    net = SpliceNet(read_openspliceai(Path(argument)), OPEN_EPS, OPEN_SLOPE)
    return _reader(net, f"openspliceai:{argument}", layer, hook, revision, device)


def _reader(
    net: SpliceNet, model_id: str, layer: int | None, hook: str | None, revision: str | None, device: str
) -> SpliceReader:
    if revision is not None:
        raise SaeTracksError(f"{model_id} has no revisions: leave --revision out")
    return SpliceReader(net, model_id, layer, hook, resolve_device(device))


def _installed_graph() -> Path:
    """The graph in the installed package cispliceai. The package itself, which needs TensorFlow, is not imported."""
    how = f"pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        raise SaeTracksError(f"the weights are in the package {PACKAGE}, which is not installed: {how}") from None
    if found.version != VERSION:
        raise SaeTracksError(f"{PACKAGE} {found.version} is installed; the weights are read from {VERSION}: {how}")
    return Path(str(found.locate_file(GRAPH)))
