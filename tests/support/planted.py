"""A genome with planted sites, and a language model and SAE that know them: what a true match looks like.

Sites are whole words, so a sequence says by itself where they lie. The model mixes what it knows into channels of which
none means anything alone; the SAE takes them apart again.
"""

from pathlib import Path

import numpy as np
import torch
from toy import unit_stats, write_fasta

from sae_tracks.dna import reverse_complement
from sae_tracks.genome import Genome
from sae_tracks.motifs import Motif
from sae_tracks.sae import SAE

WORDS = {  # none within another, nor the reverse complement of one
    "MA9001.1": b"TGACTCAGCA",
    "MA9002.1": b"CCACCAGGGGGC",
    "MA9003.1": b"GGGACTTTCCAG",
    "MA9004.1": b"CACGTGACCTTA",
    "MA9005.1": b"TTACGTAAGTCG",
    "MA9006.1": b"ACCGGAAGTTGC",
    "MA9007.1": b"GATAAGCATTCCA",
    "MA9008.1": b"TAATTGCCGAGT",
}
REPEAT = b"GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGGGAGGCCGAGGCGGGCGGATCACCTGAGGTCAGGAGTTC"
IN_REPEAT = "MA9009.1"  # a motif that lies in the repeat and nowhere else
REPEAT_WORD = REPEAT[20:34]
CONTEXTS, LOUD, BEFORE = 40, 5, 7  # so loud that no single channel of the mixture shows a word
NAMES = [(name, strand) for name in (*WORDS, IN_REPEAT) for strand in "+-"]


def genome(folder: Path, n: int = 400_000, sites: int = 150, repeats: int = 300, seed: int = 0):
    """A FASTA of one contig ``p1``, its truth as rows of BED6, and the repeats as rows of BED4."""
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, n)].copy()
    things = [(name, word) for name, word in WORDS.items() for _ in range(2 * sites)] + [("rep", REPEAT)] * repeats
    order = rng.permutation(len(things))
    widths = np.array([len(things[i][1]) + 5 for i in order])
    starts = np.sort(rng.integers(0, n - widths.sum(), len(order))) + np.cumsum(widths) - widths
    truth, masked = [], []
    for start, i in zip(starts.tolist(), order):
        name, word = things[i]
        strand = "+-"[rng.integers(2)]
        letters[start : start + len(word)] = np.frombuffer(_oriented(word, strand), np.uint8)
        if name == "rep":
            masked.append(("p1", start, start + len(word), "SINE/Alu"))
            inside = 20 if strand == "+" else len(REPEAT) - 34
            start, word, name = start + inside, REPEAT_WORD, IN_REPEAT
        truth.append(("p1", start, start + len(word), name, 1000, strand))
    return write_fasta(folder / "planted.fa", p1=letters.tobytes().decode()), truth, masked


def write_bed(path: Path, rows) -> Path:
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def motifs() -> list[Motif]:
    """A matrix for every word."""
    return [Motif(name, name, counts(word)) for name, word in (WORDS | {IN_REPEAT: REPEAT_WORD}).items()]


def counts(word: bytes):
    """(w, 4): 100 sites, of which 85 have the word's letter at each position."""
    return 5.0 + 80.0 * (np.frombuffer(word, np.uint8)[:, None] == np.frombuffer(b"ACGT", np.uint8))


def _oriented(word: bytes, strand: str) -> bytes:
    return word if strand == "+" else reverse_complement(word)


class PlantedLM:
    """Knows every word on either strand, the repeat as a whole, letters and 7-mers; mixes them by a fixed rotation."""

    model_id, revision, checksum, architecture = "planted", None, "planted", "toy"
    layer, hook_name, causal = 3, "toy", False

    def __init__(self, max_length: int = 4096, seed: int = 0, *, blank: bool = False) -> None:
        self.max_length, self.blank = max_length, blank
        self.d_model = len(NAMES) + 4 + CONTEXTS
        draw = torch.Generator().manual_seed(seed)
        self.contexts = (torch.rand(4**BEFORE, CONTEXTS, generator=draw) < 0.2).float().numpy()  # of 7-mers
        self.rotation = torch.linalg.qr(torch.randn(self.d_model, self.d_model, generator=draw)).Q

    def known(self, sequence: bytes) -> np.ndarray:
        """(n, d_model) what the model knows, not mixed: a channel a word and strand, the letters, some 7-mers each."""
        out = np.zeros((len(sequence), self.d_model), np.float32)
        letters = np.frombuffer(sequence, np.uint8)[:, None] == np.frombuffer(b"ACGT", np.uint8)
        out[:, len(NAMES) : len(NAMES) + 4] = letters
        code = letters.argmax(axis=1)
        words = np.lib.stride_tricks.sliding_window_view(code, BEFORE) @ 4 ** np.arange(BEFORE)[::-1]
        out[BEFORE - 1 :, len(NAMES) + 4 :] = LOUD * self.contexts[words]
        if not self.blank:
            for channel, (name, strand) in enumerate(NAMES):
                word = _oriented(WORDS.get(name, REPEAT), strand)  # of the motif in the repeat it knows the repeat
                at = sequence.find(word)
                while at >= 0:
                    inside = slice(at, at + len(word))
                    if name == IN_REPEAT:
                        shift = 20 if strand == "+" else len(REPEAT) - 34
                        inside = slice(at + shift, at + shift + len(REPEAT_WORD))
                    out[inside, channel] = 1
                    at = sequence.find(word, at + 1)
        return out

    def activations(self, sequence: bytes) -> torch.Tensor:
        return torch.from_numpy(self.known(sequence)) @ self.rotation

    def token_starts(self, sequence: bytes) -> np.ndarray:
        return np.ones(len(sequence), bool)


def planted_sae(lm: PlantedLM) -> SAE:
    """Feature i is the i-th thing that the model knows."""
    d = lm.d_model
    decoder = lm.rotation
    return SAE(
        decoder.T.contiguous(),
        torch.full((d,), -1e-3),
        decoder.clone(),
        torch.zeros(d),
        metadata={},
        stats=unit_stats(d),
    )


def planted_genome(folder: Path, **sizes):
    """`genome` as an open FASTA and BED files of truth and repeats."""
    fasta, truth, masked = genome(folder, **sizes)
    return Genome(fasta), write_bed(folder / "truth.bed", truth), write_bed(folder / "repeats.bed", masked)
