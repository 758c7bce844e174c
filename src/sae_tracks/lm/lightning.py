"""The original HyenaDNA checkpoint, ``weights.ckpt``, as PyTorch Lightning wrote it."""

import re
from pathlib import Path

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.hyenadna import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAModel, Modulation, PositionalEmbedding
from sae_tracks.lm.pretrained import WRAPPERS
from sae_tracks.lm.torchfile import read_state_dict

METRICS = re.compile(r"(train|val|test)_torchmetrics\.")  # counters of the training run
HEAD = "lm_head.weight"
LAYERS = "hyena.backbone.layers."
FILTER = "mixer.filter_fn."
TOLERANCE = 1e-5  # of derived buffers, whose last bits depend on the version of torch

Weights = dict[str, torch.Tensor]


def load_lightning(path: str | Path, *, need_head: bool = True) -> HyenaDNAForCausalLM | HyenaDNAModel:
    """Load the model of an original checkpoint, fp32, on the CPU, in evaluation mode. Nothing in the file is run.

    Sizes follow from the tensors' shapes, so no configuration is needed. Names may have the ``.layer`` that gradient
    checkpointing puts behind ``.mixer`` and ``.mlp``, and prefixes of DistributedDataParallel and torch.compile. A
    weight that is missing, unknown, of another shape, NaN or infinite is an error, and so is a stored buffer that
    differs from the one derived here.

    Parameters
    ----------
    path : path
        ``weights.ckpt`` of a ``LongSafari/hyenadna-*`` repository without ``-hf``, or its folder.
    need_head : bool
        Refuse a checkpoint without a next-base head, or with weights of another head. Otherwise such a checkpoint
        gives a `HyenaDNAModel`, and other heads are left out.
    """
    path = Path(path)
    path = path / "weights.ckpt" if path.is_dir() else path
    stored = read_state_dict(path, wanted=lambda name: not METRICS.match(name))
    weights = _merge_frequencies(path, _hub_names(path, stored))
    config = _config(path, weights)
    has_head = need_head or HEAD in weights
    if not need_head:
        weights = {name: tensor for name, tensor in weights.items() if name == HEAD or name.startswith("hyena.")}
    with torch.device("meta"):  # shapes alone: nothing is allocated before they are known to be the file's
        model = HyenaDNAForCausalLM(config) if has_head else HyenaDNAModel(config)
    if not has_head:
        weights = {name.removeprefix("hyena."): tensor for name, tensor in weights.items()}
    _check_names_and_shapes(path, weights, model)
    _check_values(path, weights, config)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _hub_names(path: Path, stored: Weights) -> Weights:
    """Return the tensors as fp32 copies, under the names of the hub's ``-hf`` repositories."""
    weights: Weights = {}
    for name, tensor in stored.items():
        renamed = re.sub(r"\.(mixer|mlp)\.layer\.", r".\1.", re.sub(WRAPPERS, "", name))
        renamed = renamed.replace("model.backbone.", "hyena.backbone.", 1).replace("model.lm_head.", "lm_head.", 1)
        if renamed in weights:
            raise SaeTracksError(f"{path} holds {renamed} twice, as {name} and with or without '.layer'")
        weights[renamed] = tensor.float().clone(memory_format=torch.contiguous_format)
    return weights


def _merge_frequencies(path: Path, weights: Weights) -> Weights:
    """Leave out the copies of each filter's sine frequency, which must equal the first."""
    kept: Weights = {}
    for name, tensor in weights.items():
        first = re.sub(r"(\.implicit_filter)\.\d+\.freq$", r"\1.1.freq", name)
        if first == name:
            kept[name] = tensor
        elif first not in weights or not torch.equal(tensor, weights[first]):
            raise SaeTracksError(f"{path}: {name} differs from {first}; HyenaDNA has one frequency per filter")
    return kept


def _config(path: Path, weights: Weights) -> HyenaDNAConfig:
    """Read the sizes from the shapes of the first block."""

    def size(name: str, dimension: int) -> int:
        name = f"{LAYERS}0.{name}"
        if name not in weights:
            raise SaeTracksError(f"{path} has no weight {name}: it is not a HyenaDNA of order 2, or not whole")
        if weights[name].ndim <= dimension:
            raise SaeTracksError(f"{path}: {name} has {weights[name].ndim} dimensions, too few for HyenaDNA")
        return weights[name].shape[dimension]

    layers = {match[1] for name in weights if (match := re.match(re.escape(LAYERS) + r"(\d+)\.", name))}
    linear = re.compile(re.escape(f"{LAYERS}0.{FILTER}implicit_filter.") + r"\d+\.weight")
    first_and_last = 2
    return HyenaDNAConfig(
        d_model=size("norm1.weight", 0),
        d_inner=size("mlp.fc1.weight", 0),
        n_layer=len(layers),
        max_seq_len=size(f"{FILTER}pos_emb.z", 1),
        emb_dim=size(f"{FILTER}pos_emb.z", 2),
        filter_order=size(f"{FILTER}implicit_filter.0.weight", 0),
        num_inner_mlps=sum(1 for name in weights if linear.fullmatch(name)) - first_and_last,
        short_filter_order=size("mixer.short_filter.weight", 2),
    )


def _check_names_and_shapes(path: Path, weights: Weights, model: torch.nn.Module) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for problem, names in (
        ("missing", [name for name in expected if name not in weights]),
        ("unknown", [name for name in weights if name not in expected]),
    ):
        if names:
            raise SaeTracksError(f"{path}: {len(names)} {problem} weights, such as {names[0]}")
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise SaeTracksError(f"{path}: {name} is {tuple(weights[name].shape)}; HyenaDNA of this size has {shape}")


def _check_values(path: Path, weights: Weights, config: HyenaDNAConfig) -> None:
    z, t = PositionalEmbedding(config).table()
    derived = {"pos_emb.z": z, "pos_emb.t": t, "modulation.deltas": Modulation(config).rates()}
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise SaeTracksError(f"{path}: {name} holds NaN or infinity")
        ours = derived.get(name.rpartition(FILTER)[2])
        if ours is not None and not torch.allclose(tensor, ours, rtol=TOLERANCE, atol=TOLERANCE):
            worst = (tensor - ours).abs().max().item()
            raise SaeTracksError(f"{path}: {name} is off by {worst:.2g}; this is another form of HyenaDNA")
