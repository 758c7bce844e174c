"""Write test-data/: a small SAE of the bundled model, a genome, sites and variants. `python make_test_data.py`"""

import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sae_tracks.lm import describe, load_lm
from sae_tracks.sae import SAE, save_sae

DATA = Path(__file__).parent / "test-data"
D_MODEL, D_SAE, BASES = 128, 16, 4000


def write_sae(archive: Path) -> None:
    """An SAE with drawn weights, whose features are active on about every sixth base."""
    weights = torch.randn(D_MODEL, D_SAE, generator=torch.Generator().manual_seed(0)) / D_MODEL**0.5
    columns = {"max": np.float32(4), "mean": np.float32(0.1), "density": np.float32(0.15), "dead": False}
    stats = pd.DataFrame({"feature": np.arange(D_SAE, dtype=np.int32)} | columns)
    metadata = {"lm": describe(load_lm("demo", 3)), "read_strands": ["+"]}
    sae = SAE(weights, torch.full((D_SAE,), -1.0), weights.T.contiguous(), torch.zeros(D_MODEL), metadata, stats)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive, "w:gz") as tar:
        save_sae(sae, Path(folder, "sae"))
        tar.add(Path(folder, "sae"), "sae")


def main() -> None:
    rng = np.random.default_rng(0)
    letters = "".join(rng.choice(list("ACGT"), BASES))
    lines = [letters[i : i + 60] for i in range(0, BASES, 60)]
    (DATA / "genome.fa").write_text("\n".join([">chr1", *lines]) + "\n")
    starts = np.sort(rng.choice(BASES - 20, 80, replace=False))
    (DATA / "sites.bed").write_text("".join(f"chr1\t{at}\t{at + 12}\tsite\t0\t+\n" for at in starts))
    other = dict(zip("ACGT", "GTAC"))
    header = f"##fileformat=VCFv4.2\n##contig=<ID=chr1,length={BASES}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    rows = (f"chr1\t{at + 1}\t.\t{letters[at]}\t{other[letters[at]]}\t.\t.\t.\n" for at in range(500, 3500, 300))
    (DATA / "variants.vcf").write_text(header + "".join(rows))
    write_sae(DATA / "sae.tar.gz")


if __name__ == "__main__":
    main()
