"""An imported SAE goes the whole way: a file of InterPLM, the model it is said to read, intervals of a genome."""

import numpy as np
import pytest
import torch
from command_line import run
from interop_files import draw
from toy import random_dna, write_fasta

from sae_tracks.lm import load_lm

N = 300


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with ae_normalized.pt for the demo model's layer 2, a genome, and the features by hand: (N, 4)."""
    folder = tmp_path_factory.mktemp("tracks")
    sequence = random_dna(N, seed=5)
    write_fasta(folder / "g.fa", chr1=sequence)
    x = load_lm("demo", 2, device="cpu").activations(sequence.encode()).numpy().astype(np.float64)
    W, bias, b_enc = draw(4, x.shape[1], seed=1), draw(x.shape[1], seed=2), draw(4, seed=3)
    features = np.maximum((x - bias.numpy()) @ W.numpy().T + b_enc.numpy(), 0)
    maxima = torch.tensor(features.max(0) * 0.8, dtype=torch.float32)  # measured elsewhere: less than here
    state = {"encoder.weight": W, "encoder.bias": b_enc, "decoder.weight": W.T.contiguous(), "bias": bias}
    more = {"activation_rescale_factor": maxima, "normalize_to_sqrt_d": torch.tensor(False)}
    torch.save(state | more, folder / "ae_normalized.pt")
    return folder, features / maxima.numpy()


def test_without_a_model_the_verbs_ask_for_it(files):
    folder, _ = files
    assert run("import-sae", str(folder), "-o", str(folder / "unknown")).returncode == 0
    out = run("export-bed", str(folder / "unknown"), str(folder / "g.fa"), "-f", "0", "-o", str(folder / "x.bed"))
    assert out.returncode == 1 and "does not say which language model" in out.stderr
    assert "name it with --model" in out.stderr


def test_intervals_are_where_the_features_by_hand_exceed_the_fraction_of_their_maximum(files):
    folder, features = files
    out = run("import-sae", str(folder), "-o", str(folder / "sae"), "--model", "demo", "--layer", "2")
    assert out.returncode == 0, out.stderr
    bed = folder / "out.bed"
    out = run("export-bed", str(folder / "sae"), str(folder / "g.fa"), "-f", "0-3", "-t", "0.15", "-o", str(bed))
    assert out.returncode == 0, out.stderr
    active = np.zeros((N, 4), bool)
    for line in bed.read_text().splitlines():
        _, start, end, name, *_ = line.split("\t")
        active[int(start) : int(end), int(name[1:])] = True
    sure = np.abs(features - 0.15) > 1e-4
    assert active.any() and (active == (features > 0.15))[sure].all()
