"""A bare state dict is read as torch reads it, whatever its tensors are."""

import collections

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.torchfile import read_tensors

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.int64, torch.bool]


@st.composite
def tensors(draw):
    """Of any dtype known, of 0 to 3 dimensions, as they are, as a view or as a parameter."""
    shape = draw(st.lists(st.integers(1, 4), max_size=3))
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) * 9
    tensor = drawn.to(draw(st.sampled_from(DTYPES)))
    form = draw(st.sampled_from(["whole", "transposed", "part", "parameter"]))
    if form == "transposed":
        return tensor.permute(tuple(reversed(range(tensor.ndim))))
    if form == "part" and tensor.ndim:
        return tensor[-1]
    return torch.nn.Parameter(tensor) if form == "parameter" and tensor.is_floating_point() else tensor


@settings(max_examples=30, deadline=None)
@given(state=st.dictionaries(st.text(min_size=1, max_size=8), tensors(), min_size=1, max_size=5))
def test_any_state_dict_is_read_as_torch_reads_it(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("state") / "ae.pt"
    torch.save(collections.OrderedDict(state), path)
    read, expected = read_tensors(path), torch.load(path, weights_only=True)
    assert list(read) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(read[name], tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor)


def test_the_state_dict_of_a_module_with_buffers_is_read(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    read = read_tensors(tmp_path / "a.pt")
    assert read.keys() == module.state_dict().keys() and read["1.num_batches_tracked"].shape == ()
    assert all(torch.equal(read[name], tensor) for name, tensor in module.state_dict().items())


def test_tensors_that_share_memory_are_read(tmp_path):
    whole = torch.arange(6.0)
    torch.save({"whole": whole, "tail": whole[4:]}, tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt")["tail"].tolist() == [4, 5]


def test_a_byte_that_is_no_bool_is_no_trouble(tmp_path):
    torch.save({"flag": torch.tensor([2, 0], dtype=torch.uint8).view(torch.bool)}, tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt")["flag"].tolist() == [2, 0]


def test_numbers_of_a_kind_that_is_not_known_are_refused(tmp_path):
    torch.save({"z": torch.ones(2) * 1j}, tmp_path / "a.pt")
    with pytest.raises(SaeTracksError, match=r"'torch ComplexFloatStorage'; expected float32, .*uint8"):
        read_tensors(tmp_path / "a.pt")
