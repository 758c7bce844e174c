"""A language model without what it has learned: new or permuted weights, read at the same place."""

import lm_zoo
import pytest
import torch
from toy import OneHotLM, random_dna

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import load_lm
from sae_tracks.lm.untrained import check_can_be_untrained

DNA = random_dna(300, 1).encode()


@pytest.fixture(scope="module", params=["hyenadna", "auto"])
def lm(request, tmp_path_factory):
    if request.param == "hyenadna":
        return load_lm("demo", device="cpu")
    return load_lm(str(lm_zoo.six_mers(tmp_path_factory.mktemp("esm"))), 2, device="cpu")


@pytest.mark.parametrize("kind", ["random", "permuted"])
def test_a_seed_gives_one_model_and_another_seed_another(lm, kind):
    first, again, other = lm.untrained(kind, 0), lm.untrained(kind, 0), lm.untrained(kind, 1)
    assert first.checksum == again.checksum
    assert len({lm.checksum, first.checksum, other.checksum}) == 3


@pytest.mark.parametrize("kind", ["random", "permuted"])
def test_it_is_read_at_the_same_place_and_says_what_it_is(lm, kind):
    blank = lm.untrained(kind, 7)
    assert (blank.layer, blank.hook_name, blank.d_model) == (lm.layer, lm.hook_name, lm.d_model)
    assert f"{kind} weights, seed 7" in blank.model_id
    dna = DNA[: lm.max_length]
    assert blank.activations(dna).shape == lm.activations(dna).shape
    assert torch.isfinite(blank.activations(dna)).all()


def test_permuted_weights_are_the_trained_ones_in_another_order(lm):
    before = {name: parameter.clone() for name, parameter in lm.model.named_parameters()}
    blank = lm.untrained("permuted", 0)
    for name, parameter in blank.model.named_parameters():
        assert torch.equal(parameter.flatten().sort().values, before[name].flatten().sort().values), name
        assert torch.equal(dict(lm.model.named_parameters())[name], before[name])


def test_the_callers_random_numbers_are_left_alone():
    lm = load_lm("demo", device="cpu")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    lm.untrained("random", 0)
    assert torch.equal(torch.rand(3), expected)


def test_a_model_without_the_method_is_refused():
    with pytest.raises(SaeTracksError, match=r"one-hot offers no untrained\(\): leave out --controls untrained"):
        check_can_be_untrained(OneHotLM())


def test_a_new_model_that_passes_nothing_between_tokens_is_read_as_the_trained_one(tmp_path):
    """Causality is that of the architecture: weights of zero are causal whatever it is."""
    lm = load_lm(str(lm_zoo.six_mers(tmp_path)), 2, device="cpu")
    blank = lm.untrained("random", 0)
    assert blank.causal == lm.causal is False
    before = type(lm.model)._init_weights
    try:
        type(lm.model)._init_weights = lambda self, module: [p.data.zero_() for p in module.parameters(recurse=False)]
        blank = lm.untrained("random", 0)
    finally:
        type(lm.model)._init_weights = before
    assert not any(p.any() for p in blank.model.parameters())
    assert (blank.causal, blank.hook_name, blank.layer) == (False, lm.hook_name, 2)
    assert blank.activations(DNA[:60]).shape == (60, lm.d_model)
