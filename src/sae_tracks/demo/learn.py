"""What all demos do first: read a language model on one contig, and train an SAE on its activations."""

from dataclasses import dataclass
from pathlib import Path

from sae_tracks.activations.extract import extract, plan_extraction
from sae_tracks.activations.shards import open_shards
from sae_tracks.activations.shuffle import plan_shuffle, shuffle
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM
from sae_tracks.progress import counter
from sae_tracks.sae import SAE
from sae_tracks.train.plan import plan_training
from sae_tracks.train.settings import TrainSettings
from sae_tracks.train.train import train_sae

MEMORY = 1 << 30  # for the shuffle


@dataclass(frozen=True, slots=True)
class Learning:
    """What an SAE is trained on, and how."""

    contig: str
    windows: int  # sampled on the contig
    context: int | None  # bases of a window that are only context; None: the default
    settings: TrainSettings
    epochs: int


def learn(lm: GeneLM, genome: Genome, how: Learning, out: Path, seed: int) -> SAE:
    """Write ``act/``, ``shuffled/`` and ``sae/`` into a folder, as extract, shuffle and train do; return the SAE."""
    contig = [genome.region(how.contig)]
    extract(plan_extraction(lm, genome, contig, sample=how.windows, seed=seed, context=how.context), out / "act")
    activations = open_shards(out / "act")
    shuffle(activations, out / "shuffled", plan_shuffle(activations, MEMORY), seed=seed)
    data = open_shards(out / "shuffled")
    plan = plan_training(data, how.settings, rows=how.epochs * data.rows, seed=seed, device="cpu")
    with counter("training", plan.steps) as advance:
        sae = train_sae(plan, out / "sae", advance)
    assert sae is not None
    return sae


def check_new(out: Path) -> None:
    """Refuse a folder in which files would be mixed with older ones."""
    if out.exists() and any(out.iterdir()):
        raise SaeTracksError(f"{out} is not empty: the demo needs a folder of its own; delete it or name another")
