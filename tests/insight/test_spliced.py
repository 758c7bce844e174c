"""Splicing against the differentiable model with a hook that changes the block's output."""

import numpy as np
import pytest
import torch
from hooked import LAYERS, D, HeadLM, drawn_sae, predictions, small_hyenadna
from toy import OneHotLM, identity_sae, random_dna, unit_stats, write_fasta

from sae_tracks import interp, spliced
from sae_tracks.errors import SaeTracksError
from sae_tracks.evaluate.recovered import measure_recovered
from sae_tracks.genome import Genome
from sae_tracks.insight.spliced import logit_attribution
from sae_tracks.lm import HyenaDNAReader
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE

SEQUENCE = (random_dna(25, 1) + "NNN" + random_dna(30, 2)).encode()
KINDS = pytest.mark.parametrize(
    "kind", [{}, {"k": 3}, {"threshold": torch.full((24,), 0.5)}], ids=["relu", "topk", "jumprelu"]
)


@pytest.fixture(scope="module")
def model():
    return small_hyenadna()


def with_maxima(sae):
    sae.stats = unit_stats(sae.d_sae)
    sae.stats["max"] = np.linspace(0, 9, sae.d_sae, dtype=np.float32)
    return sae


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
@KINDS
def test_without_an_edit_every_bit_is_that_of_the_model(model, layer, kind):
    reader, sae = HyenaDNAReader(model, layer), drawn_sae(layer, **kind)
    own = reader.next_base(reader.activations(SEQUENCE))
    with spliced(reader, sae) as inside:
        assert torch.equal(inside.next_base(SEQUENCE), own)
        silent = [i for i in range(24) if not (sae.encode(reader.activations(SEQUENCE))[:, i] > 0).any()]
        if silent:
            inside.ablate(silent)
            assert torch.equal(inside.next_base(SEQUENCE), own)
    assert (own - predictions(model, layer, SEQUENCE)).abs().max() < 1e-4


def test_several_windows_at_once_are_those_one_by_one(model):
    reader = HyenaDNAReader(model, 2)
    x = torch.stack([reader.activations(random_dna(40, seed).encode()) for seed in range(3)])
    together = reader.next_base(x)
    assert together.shape == (3, 40, 4)
    assert (together - torch.stack([reader.next_base(one) for one in x])).abs().max() < 1e-5


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
@KINDS
def test_edits_are_those_of_a_hook_that_encodes_edits_and_decodes(model, layer, kind):
    reader, sae = HyenaDNAReader(model, layer), with_maxima(drawn_sae(layer, **kind))

    def change(x, *, error=True):
        f = sae.encode(x)
        edited = f.clone()
        edited[:, [3, 5]] = 0
        edited[:, 7], edited[:, 9] = 2 * float(sae.stats["max"][7]), -1.5
        return sae.decode(edited) + (x - sae.decode(f) if error else 0)

    for error in (True, False):
        inside = spliced(reader, sae, keep_error=error).ablate([3, 5, 7]).steer({7: 2}).steer({9: -1.5}, scale="raw")
        wanted = predictions(model, layer, SEQUENCE, lambda x, error=error: change(x, error=error))
        assert (inside.next_base(SEQUENCE) - wanted).abs().max() < 2e-4
    assert (wanted - predictions(model, layer, SEQUENCE)).abs().max() > 0.01, "the edits are seen"


@pytest.mark.parametrize("bias", [0, 1])
def test_all_features_ablated_without_the_error_leave_the_bias_at_every_base(model, tmp_path, bias):
    """With b_dec = 0 that is the zero of `evaluate`, whose stream is 0; with another bias it is another constant."""
    reader, sae = HyenaDNAReader(model, 2), drawn_sae()
    sae.b_dec *= bias
    inside = spliced(reader, sae, keep_error=False).ablate(range(24))
    assert torch.equal(inside.activations(SEQUENCE), sae.b_dec.expand(len(SEQUENCE), -1))
    constant = reader.next_base(sae.b_dec.expand(len(SEQUENCE), -1))
    assert torch.equal(inside.next_base(SEQUENCE), constant)
    text = random_dna(60, 5)
    genome = Genome(write_fasta(tmp_path / "g.fa", c=text))
    measured = measure_recovered(reader, sae, genome, [GenomicRegion("c", 0, 60)])
    logs = inside.next_base(text.encode())
    nats = -np.mean([logs[i - 1, "ACGT".index(text[i])].item() for i in range(1, 60)])
    assert (nats == pytest.approx(measured.nats_zero, abs=1e-5)) == (bias == 0)
    plain = spliced(reader, sae, keep_error=False).next_base(text.encode())
    nats = -np.mean([plain[i - 1, "ACGT".index(text[i])].item() for i in range(1, 60)])
    assert nats == pytest.approx(measured.nats_sae, abs=1e-5)


def test_all_features_ablated_with_the_error_kept_leave_error_and_bias(model):
    reader, sae = HyenaDNAReader(model, 2), drawn_sae()
    x = reader.activations(SEQUENCE)
    found = spliced(reader, sae).ablate(range(24)).activations(SEQUENCE)
    wanted = x - sae.decode(sae.encode(x)) + sae.b_dec
    assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_edits_end_with_the_block_and_the_last_one_of_a_feature_holds(model):
    reader, sae = HyenaDNAReader(model, 1), drawn_sae()
    with spliced(reader, sae) as inside:
        inside.steer({4: 3}, scale="raw").ablate([4])
        assert inside.edits == {4: 0.0}
    assert inside.edits == {} and torch.equal(inside.activations(SEQUENCE), reader.activations(SEQUENCE))


def test_a_plug_in_with_outputs_is_spliced_too():
    lm, text = HeadLM(), b"ACGNTCC"
    with spliced(lm, identity_sae()) as inside:
        assert torch.equal(inside.outputs(text), lm.outputs(text))
        inside.ablate([1])
        assert torch.allclose(inside.outputs(text), torch.full((7, 2), -np.log(2), dtype=torch.float32))
        inside.steer({1: 2}, scale="max")
        assert torch.allclose(inside.outputs(text)[:, 1], torch.tensor(6.0).sigmoid().log())
        with pytest.raises(SaeTracksError, match=r"predicts other, site, no next base: outputs\(\)"):
            inside.next_base(text)


def test_what_cannot_be_spliced_is_refused_in_one_line(model):
    reader, sae = HyenaDNAReader(model, 1), with_maxima(drawn_sae())
    inside = spliced(reader, sae)
    for call, said in (
        (lambda: inside.ablate([24]), "no feature 24: this SAE has features 0 to 23"),
        (lambda: inside.steer({0: 1}), "feature 0 is dead, so it has no maximum"),
        (lambda: inside.steer({1: float("nan")}), "cannot be set to nan"),
        (lambda: spliced(reader, drawn_sae()).steer({1: 1}), "no feature_stats.parquet"),
        (lambda: inside.outputs(SEQUENCE), r"predicts the next base and has no other outputs: next_base\(\)"),
        (lambda: inside.next_base(b""), "0 bases"),
        (lambda: spliced(OneHotLM(), identity_sae()), "one-hot is a 'toy' model"),
        (lambda: spliced(HyenaDNAReader(model.hyena, 1), sae), r"no next-base head \(lm_head\)"),
        (lambda: spliced(HyenaDNAReader(model, 1), identity_sae(6)), "the SAE reads 6 dimensions"),
        (
            lambda: spliced(reader, drawn_sae(metadata={"lm": {"layer": 2}})),
            "the SAE was trained on another layer",
        ),
        (lambda: logit_attribution(reader, sae, 99), "no feature 99"),
        (lambda: logit_attribution(OneHotLM(), identity_sae(), 1), "one-hot is a 'toy' model"),
    ):
        with pytest.raises(SaeTracksError, match=said) as refused:
            call()
        assert "\n" not in str(refused.value)
    assert inside.edits == {}


def test_logit_attribution_is_the_gradient_if_the_row_leaves_the_scale_of_the_norm_alone(model, caplog):
    """At one base x and orthogonal to x - mean(x), a small step does not change the standard deviation."""
    reader, norm = HyenaDNAReader(model, LAYERS), model.hyena.backbone.ln_f
    x = reader.activations(b"A")[0]
    step = torch.randn(D, generator=torch.Generator().manual_seed(0))
    centred = x - x.mean()
    step = step - step.mean()
    step = step - (step @ centred) / (centred @ centred) * centred
    sae = SAE(torch.zeros(D, 1), torch.zeros(1), step[None] + 0.3, torch.zeros(D))  # the norm takes the 0.3 away
    jacobian = torch.autograd.functional.jacobian(lambda row: model.lm_head(norm(row))[7:11], x)
    wanted = jacobian @ sae.W_dec[0]
    with caplog.at_level("INFO", "sae_tracks"):
        found = logit_attribution(reader, sae, 0, sequence=b"A")
        assert found.dtype == np.float32 and not caplog.records
        assert found == pytest.approx((wanted - wanted.mean()).numpy(), rel=1e-3, abs=1e-5)
        direct = logit_attribution(HyenaDNAReader(model, 1), sae, 0)
    assert "layer 1 of 3: direct path only" in caplog.text
    ratio = direct / found  # another scale, the same direction
    assert ratio == pytest.approx(np.full(4, ratio[0]), rel=1e-3) and ratio[0] > 0


def test_the_namespace_of_notebooks_holds_what_it_names():
    assert all(f"`{name}" in interp.__doc__ or name == "Coactivation" for name in interp.__all__ if name != "Spliced")
    assert all(callable(getattr(interp, name)) for name in interp.__all__)
