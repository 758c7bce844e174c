"""A language model without what it has learned: new or permuted weights, read at the same place."""

import lm_zoo
import pytest
import torch
from toy import OneHotLM, random_dna

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import load_lm
from sae_tracks.lm.untrained import untrained

DNA = random_dna(300, 1).encode()


@pytest.fixture(scope="module", params=["hyenadna", "auto"])
def lm(request, tmp_path_factory):
    if request.param == "hyenadna":
        return load_lm("demo", device="cpu")
    return load_lm(str(lm_zoo.six_mers(tmp_path_factory.mktemp("esm"))), 2, device="cpu")


@pytest.mark.parametrize("kind", ["random", "permuted"])
def test_a_seed_gives_one_model_and_another_seed_another(lm, kind):
    first, again, other = untrained(lm, kind, 0), untrained(lm, kind, 0), untrained(lm, kind, 1)
    assert first.checksum == again.checksum
    assert len({lm.checksum, first.checksum, other.checksum}) == 3


@pytest.mark.parametrize("kind", ["random", "permuted"])
def test_it_is_read_at_the_same_place_and_says_what_it_is(lm, kind):
    blank = untrained(lm, kind, 7)
    assert (blank.layer, blank.hook_name, blank.d_model) == (lm.layer, lm.hook_name, lm.d_model)
    assert f"{kind} weights, seed 7" in blank.model_id
    dna = DNA[: lm.max_length]
    assert blank.activations(dna).shape == lm.activations(dna).shape
    assert torch.isfinite(blank.activations(dna)).all()


def test_permuted_weights_are_the_trained_ones_in_another_order(lm):
    before = {name: parameter.clone() for name, parameter in lm.model.named_parameters()}
    blank = untrained(lm, "permuted", 0)
    for name, parameter in blank.model.named_parameters():
        assert torch.equal(parameter.flatten().sort().values, before[name].flatten().sort().values), name
        assert torch.equal(dict(lm.model.named_parameters())[name], before[name])


def test_the_callers_random_numbers_are_left_alone():
    lm = load_lm("demo", device="cpu")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    untrained(lm, "random", 0)
    assert torch.equal(torch.rand(3), expected)


def test_a_plug_in_is_refused():
    with pytest.raises(SaeTracksError, match="plug-in"):
        untrained(OneHotLM(), "random", 0)
