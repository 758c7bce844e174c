"""Toy genomes, language models and SAEs whose every value is known."""

import gzip
from pathlib import Path

import numpy as np
import pysam
import torch

from sae_tracks.sae import SAE

RNG_BASES = np.frombuffer(b"ACGT", np.uint8)


class OneHotLM:
    """Channel = "the base is A, C, G, T": a `GeneLM` without memory, exact in every bit.

    Channels 4 and 5 remember: 4 is the number of bases read before (over 1,000), 5 is 1 where the base before was C.
    """

    model_id, revision, checksum, architecture = "one-hot", None, "one-hot", "toy"
    layer, hook_name, d_model, causal = 3, "toy", 6, True

    def __init__(self, max_length: int = 64) -> None:
        self.max_length = max_length
        self.reads: list[bytes] = []

    def activations(self, sequence: bytes) -> torch.Tensor:
        assert 1 <= len(sequence) <= self.max_length
        self.reads.append(sequence)
        letters = np.frombuffer(sequence, np.uint8)
        out = np.zeros((len(letters), self.d_model), np.float32)
        out[:, :4] = letters[:, None] == RNG_BASES
        out[:, 4] = np.arange(len(letters)) / 1000
        out[1:, 5] = letters[:-1] == ord("C")
        return torch.from_numpy(out)

    def token_starts(self, sequence: bytes) -> np.ndarray:
        return np.ones(len(sequence), bool)


class UntrainedOneHotLM(OneHotLM):
    """One that can make untrained copies of itself: its channels, mixed at random."""

    mixing: torch.Tensor | None = None

    def untrained(self, kind: str, seed: int) -> "UntrainedOneHotLM":
        made = UntrainedOneHotLM(self.max_length)
        made.model_id = made.checksum = f"one-hot ({kind} weights, seed {seed})"
        generator = torch.Generator().manual_seed(seed + 10 * (kind == "random"))
        made.mixing = torch.randn(self.d_model, self.d_model, generator=generator)
        return made

    def activations(self, sequence: bytes) -> torch.Tensor:
        plain = super().activations(sequence)
        return plain if self.mixing is None else plain @ self.mixing


def identity_sae(d: int = 6, **metadata) -> SAE:
    """Feature i is channel i."""
    eye = torch.eye(d)
    return SAE(eye, torch.zeros(d), eye.clone(), torch.zeros(d), metadata=metadata, stats=unit_stats(d))


def random_sae(d_in: int, d_sae: int, architecture: str = "standard", *, bias: float = 0.0) -> SAE:
    """Drawn weights. Every third threshold of a ``jumprelu`` is 0; k of a ``topk`` is an eighth of its features."""
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    sae = SAE(draw(d_in, d_sae), bias + 0.3 * draw(d_sae), draw(d_sae, d_in), draw(d_in))
    if architecture == "jumprelu":
        sae.threshold = draw(d_sae).abs() * (torch.arange(d_sae) % 3 > 0)
    elif architecture == "topk":
        sae.k = 1 + d_sae // 8
    return sae


def unit_stats(d: int):
    """Statistics in which every maximum is 1."""
    import pandas as pd

    return pd.DataFrame(
        {
            "feature": np.arange(d, dtype=np.int32),
            "max": np.ones(d, np.float32),
            "mean": np.ones(d, np.float32),
            "density": np.ones(d, np.float32),
            "dead": np.zeros(d, bool),
        }
    )


def write_fasta(path: Path, **records: str) -> Path:
    """Write a plain, gzip or bgzip FASTA by its ending (.fa, .gz, .bgz), 50 bases a line."""
    text = "".join(
        f">{name}\n" + "".join(f"{seq[i : i + 50]}\n" for i in range(0, len(seq), 50)) for name, seq in records.items()
    )
    if path.suffix == ".bgz":
        with pysam.BGZFile(str(path), "wb") as file:
            file.write(text.encode())
    elif path.suffix == ".gz":
        with gzip.open(path, "wt") as file:
            file.write(text)
    else:
        path.write_text(text)
    return path


def random_dna(n: int, seed: int = 0, letters: str = "ACGT") -> str:
    """n letters drawn uniformly."""
    return "".join(np.random.default_rng(seed).choice(list(letters), n))
