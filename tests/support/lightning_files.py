"""Checkpoints in the layout of HyenaDNA's original weights.ckpt, whole or tampered with."""

import collections
import re
import zipfile

import pytest
import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM
from sae_tracks.lm.lightning import load_lightning


def tiny_model():
    torch.manual_seed(0)
    return HyenaDNAForCausalLM(HyenaDNAConfig(d_model=6, n_layer=2, max_seq_len=12, filter_order=4, d_inner=10)).eval()


MODEL = tiny_model()


def lightning_state(model=MODEL, layer=""):
    """The model's tensors under Lightning's names, the frequency stored at every place of the filter that uses it."""
    state = collections.OrderedDict()
    for name, tensor in model.state_dict().items():
        name = "model." + name.removeprefix("hyena.")
        name = re.sub(r"\.(mixer|mlp)\.", rf".\1.{layer}", name)
        state[name] = tensor
        if name.endswith("implicit_filter.1.freq"):
            state[name.replace(".1.freq", ".3.freq")] = tensor
            state[name.replace(".1.freq", ".5.freq")] = tensor
    return state


def save(path, **changes):
    torch.save({"epoch": 3, "state_dict": lightning_state()} | changes, path)
    return path


def assert_same(model, reference=MODEL):
    ours, theirs = model.state_dict(), reference.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def refused(path, message):
    with pytest.raises(SaeTracksError, match=message) as caught:
        load_lightning(path)
    assert "\n" not in str(caught.value)


def rewrite(source, target, change, compression=zipfile.ZIP_STORED):
    """Copy a zip, each record changed by a function of its name and bytes; None leaves it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            if (record := change(name.split("/", 1)[1], old.read(name))) is not None:
                new.writestr(name, record)
    return target


class Raw:
    """Pickles as a call of `function`, whatever it is, with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call

    def __call__(self):
        """So that pickle takes one as the function of another."""


def view(size, stride, offset=0):
    """What pickles as a tensor over a storage of six numbers, with any size, stride and offset."""
    storage = torch.arange(6.0).untyped_storage()
    return Raw(torch._utils._rebuild_tensor_v2, torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32,
               _internal=True), offset, size, stride, False, collections.OrderedDict())  # fmt: skip
