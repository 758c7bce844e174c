"""One small file of every kind that a verb reads, and the command that reads it."""

import gzip
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pysam
import torch
from command_line import run
from lightning_files import lightning_state
from safetensors.torch import save_file
from tiny import write_tiny_model
from toy import random_dna, write_fasta

from sae_tracks.tracks.bbi.bigbed import write_bigbed
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs

LENGTHS = {"c1": 2000, "c2": 400}
BED = "export-bed sae {genome} -f 0-9 -t 0.3 -r c1:1-600 -p 1 -o out/features.bed"
SITES = "export-bed sae genome.fa -f 0-3 --scale raw -t 0 --regions {} -p 1 -o out/features.bed"
METRICS = "metrics sae genome.fa {} -r c1 --controls none --no-split --min-instances 1 -f 0-9 -p 1 -o out"
SIGNALS = "metrics sae genome.fa {} -r c1 --no-split -f 0-9 -p 1 -o out"
SCAN = "scan genome.fa --motifs {} --p-value 0.01 -p 1 -o out/sites.bed"
VARIANTS = "variants sae genome.fa {} -p 1 -o out/scored.vcf"
TRACKS = "hub {} --genome genome.fa"

# the file (a part of the set of `write_inputs`), and the words of the command
INPUTS: dict[str, str] = {
    "sae/cfg.json": BED.format(genome="genome.fa"),
    "sae/sae_weights.safetensors": BED.format(genome="genome.fa"),
    "sae/feature_stats.parquet": BED.format(genome="genome.fa"),
    "lm/config.json": BED.format(genome="genome.fa"),
    "lm/model.safetensors": BED.format(genome="genome.fa"),
    "lightning/weights.ckpt": "extract lightning genome.fa --layer 1 -r c2 -p 1 -o out",
    "genome.fa": BED.format(genome="genome.fa"),
    "genome.fa.fai": BED.format(genome="genome.fa"),
    "zipped.fa.gz": BED.format(genome="zipped.fa.gz"),
    "zipped.fa.gz.gzi": BED.format(genome="zipped.fa.gz"),
    "act/manifest.json": "shuffle act -o out --seed 1",
    "act/shard-00000.npy": "shuffle act -o out --seed 1",
    "act/shard-00000.loci.npy": "shuffle act -o out --seed 1",
    "act/windows.bed": "shuffle act -o out --seed 1",
    "part/plan.json": "extract lm genome.fa -r c1 -p 1 -o part",
    "part/windows.bed": "extract lm genome.fa -r c1 -p 1 -o part",
    "part/shard-00000.json": "extract lm genome.fa -r c1 -p 1 -o part",
    "part/shard-00000.npy": "extract lm genome.fa -r c1 -p 1 -o part",
    "part/shard-00000.loci.npy": "extract lm genome.fa -r c1 -p 1 -o part",
    "trained/checkpoints/": "train shuffled -o trained {training}",
    "tracks1/spool.json": "merge-bigwig tracks1 tracks2 -p 1 -o out",
    "tracks1/runs.bin": "merge-bigwig tracks1 tracks2 -p 1 -o out",
    "tracks1/index.bin": "merge-bigwig tracks1 tracks2 -p 1 -o out",
    "tracks1/provenance.json": "merge-bigwig tracks1 tracks2 -p 1 -o out",
    "scores1/counts.npz": "merge-metrics scores1 scores2 -o out",
    "scores1/provenance.json": "merge-metrics scores1 scores2 -o out",
    "scores/metrics.tsv": "report scores -o out",
    "scores/provenance.json": "report scores -o out",
    "scores/metrics.parquet": "export-bigwig sae genome.fa --top 3 --from scores/metrics.parquet -r c2 -p 1 -o out",
    "tracks/f1.bw": "report scores --tracks tracks -o out",
    "tracks/provenance.json": TRACKS.format("tracks"),
    "tracks/f2.bw": TRACKS.format("tracks"),
    "tracks/f3.bw": "igv tracks --genome genome.fa -o out/session",
    "tracks/f4.bw": "pygenometracks tracks -o out/tracks.ini",
    "tracks/sites.bed": TRACKS.format("tracks"),
    "signal.bw": SIGNALS.format("signal.bw"),
    "signal.bedgraph": SIGNALS.format("signal.bedgraph"),
    "sites.bed": METRICS.format("sites.bed"),
    "sites.bed.gz": METRICS.format("sites.bed.gz"),
    "indexed.bed.gz": METRICS.format("indexed.bed.gz"),
    "indexed.bed.gz.tbi": METRICS.format("indexed.bed.gz"),
    "sites.bb": METRICS.format("sites.bb"),
    "genes.gtf": METRICS.format("genes.gtf"),
    "genes.gff3": METRICS.format("genes.gff3"),
    "rmsk.txt": METRICS.format("rmsk.txt"),
    "repeats.out": METRICS.format("repeats.out"),
    "peaks.narrowPeak": METRICS.format("peaks.narrowPeak"),
    "alias.txt": METRICS.format("renamed.bed --alias alias.txt"),
    "black.bed": BED.format(genome="genome.fa") + " --black-list black.bed",
    "regions.bed": SITES.format("regions.bed"),
    "features.txt": "export-bed sae genome.fa -f @features.txt -t 0.3 -r c1:1-600 -p 1 -o out/features.bed",
    "motifs.pfm": SCAN.format("motifs.pfm"),
    "motifs.jaspar": SCAN.format("motifs.jaspar"),
    "motifs.meme": SCAN.format("motifs.meme"),
    "motifs.homer": SCAN.format("motifs.homer"),
    "motifs.pfm.gz": SCAN.format("motifs.pfm.gz"),
    "calls.vcf": VARIANTS.format("calls.vcf"),
    "calls.vcf.gz": VARIANTS.format("calls.vcf.gz"),
    "calls.bcf": VARIANTS.format("calls.bcf"),
    "part1/shard.npz": "merge-shards part1 part2 -o out",
    "heat.matrix.gz": "plot heatmap heat.matrix.gz -o out/heat.svg",
    "saelens/cfg.json": "import-sae saelens -o out",
    "saelens/sae_weights.safetensors": "import-sae saelens -o out",
    "trainer/ae.pt": "import-sae trainer -o out",
    "trainer/config.json": "import-sae trainer -o out",
    "sparsify/cfg.json": "import-sae sparsify -o out",
    "explained/atlas.json": "report scores --explained explained -o out",
    "explained/atlas.tsv": "report scores --explained explained -o out",
    "explained/describe.tsv": "report scores --explained explained -o out",
    "losses.json": "check-model lm --genome genome.fa --golden losses.json",
    "trained/train_log.jsonl": "info trained",
}
TRAINING = "--tokens 2560 --batch-size 64 --expansion 2 --k 4 -p 1"
SCORED = "metrics sae genome.fa sites.bed -f 0-9 --controls none --no-split --min-instances 1 -p 1"
AROUND = "--reference-point center -b 20 -a 20 -bs 10"
WIDTH = 16  # of the tiny model


def words(command: str) -> list[str]:
    """The words of a command of `INPUTS`; verbs that read an SAE get the model that lies beside it."""
    command = command.format(training=TRAINING)
    takes_model = {"export-bed", "metrics", "variants", "motifs", "export-bigwig"}
    return command.split() + (["-m", "lm"] if command.split()[0] in takes_model else [])


def write_inputs(folder: Path) -> None:
    """Write all files of `INPUTS` and what the commands need beside them."""
    write_tiny_model(folder)
    bases = {name: random_dna(length, length) for name, length in LENGTHS.items()}
    write_fasta(folder / "genome.fa", **bases)
    write_fasta(folder / "zipped.fa.bgz", **bases).rename(folder / "zipped.fa.gz")
    for name in ("genome.fa", "zipped.fa.gz"):
        pysam.faidx(str(folder / name))
    _write_intervals(folder)
    _write_motifs(folder)
    _write_calls(folder, bases)
    _write_foreign_models(folder)
    _write_results(folder)


def _write_intervals(folder: Path) -> None:
    draw = np.random.default_rng(0)
    starts = np.sort(draw.integers(0, 1900, 40)).tolist()
    rows = [f"c1\t{s}\t{s + 9}\tMA{i % 3}\t{900 - i}\t{'+-'[i % 2]}\n" for i, s in enumerate(starts)]
    (folder / "sites.bed").write_text("".join(rows))
    (folder / "renamed.bed").write_text("".join(rows).replace("c1\t", "one\t"))
    (folder / "alias.txt").write_text("c1\tone\tuno\nc2\ttwo\tdue\n")
    (folder / "sites.bed.gz").write_bytes(gzip.compress("".join(rows).encode(), mtime=0))
    with pysam.BGZFile(str(folder / "indexed.bed.gz"), "wb", None) as file:
        file.write("".join(rows).encode())
    pysam.tabix_index(str(folder / "indexed.bed.gz"), preset="bed", force=True)
    items = [(row.split("\t")[0], s, s + 9, "\t".join(row.strip().split("\t")[3:])) for s, row in zip(starts, rows)]
    sql = 'table sites "s"\n(\nstring chrom; "c"\nuint chromStart; "s"\nuint chromEnd; "e"\nstring name; "n"\n'
    write_bigbed(folder / "sites.bb", LENGTHS, items, f'{sql}uint score; "s"\nchar[1] strand; "s"\n)\n', 64)
    for name in ("regions.bed", "black.bed"):
        (folder / name).write_text("c1\t100\t300\nc1\t500\t620\nc2\t0\t90\n")
    exons = [("gene", 200, 900), ("transcript", 200, 900), ("exon", 200, 400), ("CDS", 250, 400), ("exon", 600, 900)]
    ids = 'gene_id "g1"; transcript_id "t1"; gene_type "protein_coding"; gene_name "G";'
    gtf = [f"c1\tx\t{kind}\t{s + 1}\t{e}\t.\t+\t{'0' if kind == 'CDS' else '.'}\t{ids}\n" for kind, s, e in exons]
    (folder / "genes.gtf").write_text("".join(gtf))
    kinds = {"gene": "ID=g1;Name=G", "transcript": "ID=t1;Parent=g1"}
    gff = [f"c1\tx\t{k}\t{s + 1}\t{e}\t.\t+\t{'0' if k == 'CDS' else '.'}\t{kinds.get(k, 'Parent=t1')}\n"
           for k, s, e in exons]  # fmt: skip
    (folder / "genes.gff3").write_text("##gff-version 3\n" + "".join(gff))
    rmsk = [
        f"585\t100\t1\t1\t1\tc1\t{s}\t{s + 30}\t-9\t+\tAluY\tSINE\tAlu\t1\t30\t-1\t{i}\n" for i, s in enumerate(starts)
    ]
    (folder / "rmsk.txt").write_text("".join(rmsk))
    head = (
        "   SW  perc perc perc  query      position in query           matching       repeat\nscore  div. del. ins.\n\n"
    )
    out = [f"  300  10.0  0.0  0.0  c1  {s + 1}  {s + 30}  (9)  +  AluY  SINE/Alu  1  30  (0)  {i}\n"
           for i, s in enumerate(starts)]  # fmt: skip
    (folder / "repeats.out").write_text(head + "".join(out))
    peaks = [f"c1\t{s}\t{s + 40}\tp{i}\t{i}\t.\t5.5\t3.1\t2.2\t20\n" for i, s in enumerate(starts)]
    (folder / "peaks.narrowPeak").write_text("".join(peaks))
    edges = np.arange(0, 2001, 50)
    values = draw.random(len(edges) - 1).astype(np.float32)
    lines = [f"c1\t{a}\t{b}\t{v:.4f}\n" for a, b, v in zip(edges, edges[1:], values)]
    (folder / "signal.bedgraph").write_text("".join(lines))
    write_bigwig(folder / "signal.bw", LENGTHS, [("c1", make_runs(edges[:-1], edges[1:], values))], 64)
    (folder / "features.txt").write_text("0-3, 5\nf7\n")


def _write_motifs(folder: Path) -> None:
    counts = [[90, 2, 3, 5], [1, 80, 9, 10], [5, 5, 85, 5], [2, 3, 5, 90], [70, 10, 10, 10], [4, 90, 3, 3]]
    columns = list(zip(*counts))
    pfm = "".join(f">MA{i}.1\tTF{i}\n" + "".join(" ".join(map(str, row)) + "\n" for row in columns) for i in (1, 2))
    (folder / "motifs.pfm").write_text(pfm)
    (folder / "motifs.pfm.gz").write_bytes(gzip.compress(pfm.encode(), mtime=0))
    rows = "".join(f"{letter} [ {' '.join(map(str, row))} ]\n" for letter, row in zip("ACGT", columns))
    (folder / "motifs.jaspar").write_text(f">MA1.1 TF1\n{rows}>MA2.1 TF2\n{rows}")
    shares = "".join(" ".join(f"{n / 100:.2f}" for n in row) + "\n" for row in counts)
    head = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
    (folder / "motifs.meme").write_text(
        f"{head}MOTIF MA1.1 TF1\nletter-probability matrix: alength= 4 w= 6 nsites= 100 E= 0\n{shares}\n"
    )
    (folder / "motifs.homer").write_text(f">ACGTAC\tTF1/x\t5.2\n{shares.replace(' ', chr(9))}")


def _write_calls(folder: Path, bases: dict[str, str]) -> None:
    head = "##fileformat=VCFv4.2\n" + "".join(f"##contig=<ID={name},length={n}>\n" for name, n in LENGTHS.items())
    swap = dict(zip("ACGT", "CGTA"))
    rows = [f"c1\t{p}\tv{p}\t{bases['c1'][p - 1]}\t{swap[bases['c1'][p - 1]]}\t.\t.\t.\n" for p in range(100, 900, 150)]
    (folder / "calls.vcf").write_text(f"{head}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{''.join(rows)}")
    for name, mode in (("calls.vcf.gz", "wz"), ("calls.bcf", "wb")):
        with (
            pysam.VariantFile(str(folder / "calls.vcf")) as calls,
            pysam.VariantFile(str(folder / name), mode, header=calls.header) as out,
        ):
            for record in calls:
                out.write(record)


def _write_foreign_models(folder: Path) -> None:
    (folder / "lightning").mkdir()
    torch.save({"epoch": 3, "state_dict": lightning_state()}, folder / "lightning" / "weights.ckpt")
    draw = torch.Generator().manual_seed(2)
    matrix = torch.randn(WIDTH, 8, generator=draw)
    for name in ("saelens", "trainer", "sparsify"):
        (folder / name).mkdir()
    weights = {"W_enc": matrix, "b_enc": torch.zeros(8), "W_dec": matrix.T.contiguous(), "b_dec": torch.zeros(WIDTH)}
    save_file(weights, folder / "saelens" / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": WIDTH, "d_sae": 8, "apply_b_dec_to_input": True}
    _write_json(
        folder / "saelens" / "cfg.json", {**config, "normalize_activations": "none", "metadata": {"model": "x"}}
    )
    state = {"bias": torch.zeros(WIDTH), "encoder.weight": matrix.T.contiguous(), "encoder.bias": torch.zeros(8),
             "decoder.weight": matrix / matrix.norm(dim=0)}  # fmt: skip
    torch.save(state, folder / "trainer" / "ae.pt")
    _write_json(folder / "trainer" / "config.json", {"trainer": {"dict_class": "AutoEncoder", "layer": 3}})
    topk = {"encoder.weight": matrix.T.contiguous(), "encoder.bias": torch.zeros(8), "W_dec": matrix.T.contiguous(),
            "b_dec": torch.zeros(WIDTH)}  # fmt: skip
    save_file(topk, folder / "sparsify" / "sae.safetensors")
    _write_json(folder / "sparsify" / "cfg.json", {"k": 3, "activation": "topk", "d_in": WIDTH})


def _write_results(folder: Path) -> None:
    """Write what verbs make that other verbs read."""
    for command in (
        "extract lm genome.fa -r c1 -p 1 -o act",
        "extract lm genome.fa -r c1 -p 1 -o part",
        "shuffle act -o shuffled --seed 1",
        "export-bigwig sae genome.fa -f 1-4 -p 1 -o tracks",
        "export-bigwig sae genome.fa -f 1-4 --shard 1/2 -p 1 -o tracks1",
        "export-bigwig sae genome.fa -f 1-4 --shard 2/2 -p 1 -o tracks2",
        f"{SCORED} -o scores",
        f"{SCORED} --shard 1/2 -o scores1",
        f"{SCORED} --shard 2/2 -o scores2",
        "motifs sae genome.fa -f 0-2 --places 10 --no-split --motifs motifs.jaspar --shard 1/2 -p 1 -o part1",
        "motifs sae genome.fa -f 0-2 --places 10 --no-split --motifs motifs.jaspar --shard 2/2 -p 1 -o part2",
        "atlas sae genome.fa -r c1 -o explained -m lm -p 1",
        "describe sae scores -o explained",
        f"plot heatmap sae genome.fa regions.bed -f 1 {AROUND} -m lm -p 1 -o heat.svg",
    ):
        made = run(*words(command), cwd=folder)
        assert made.returncode == 0, f"{command}: {made.stderr}"
    (folder / "part" / "manifest.json").unlink()
    shutil.copyfile(folder / "sites.bed", folder / "tracks" / "sites.bed")
    losses = {"format_version": 1, "model": "lm", "assembly": "toy", "contig_lengths": LENGTHS}
    regions = [{"contig": "c1", "start": 100, "end": 160, "nats_per_base": 1.5174}]
    _write_json(folder / "losses.json", {**losses, "regions": regions})
    _interrupt_training(folder)


def _interrupt_training(folder: Path) -> None:
    """Leave a run of `train` that was stopped after its twentieth step."""
    from sae_tracks.train import train

    recorded = train.Recorder.__call__

    def record(self, result, lr):
        recorded(self, result, lr)
        if self.state.step == 20:
            signal.raise_signal(signal.SIGINT)

    train.Recorder.__call__ = record
    try:
        run(*words("train shuffled -o trained {training}"), cwd=folder)
    except KeyboardInterrupt:
        pass
    finally:
        train.Recorder.__call__ = recorded
    checkpoint = max((folder / "trained" / "checkpoints").iterdir())
    assert "000000020" in checkpoint.name


def _write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value))
