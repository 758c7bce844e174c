"""examples/paper.sh from the downloads to the figures, with small stand-ins from a server on loopback."""

import gzip
import json
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from mirror import md5_lines, mirror, publish
from toy import random_dna

from sae_tracks.controls.alu import ALU
from sae_tracks.evaluate.golden import next_base_loss
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM
from sae_tracks.names import PINNED
from sae_tracks.pretrain.pretrain import save_model

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "paper.sh"
((MODEL, REVISION),) = PINNED.items()
PUBLISHED = {"MA1596.1": "GCAGGCCTGT", "MA2121.1": "CTTAGGCAGA", "MA0052.5": "TCTATTTATA"}  # the words of the stand-ins
CHR14 = 107_043_718  # bases, all N but those below
KNOWN = (87_040_000, 87_060_000), (88_100_000, 88_120_000)  # in two blocks of the halves; the first has Fig. 2
STEP = 250  # bases from one planted site to the next; every fourth is within an Alu


def matrices():
    text = ""
    for name, word in PUBLISHED.items():
        rows = (f"{base} [ {' '.join('97' if base == letter else '1' for letter in word)} ]\n" for base in "ACGT")
        text += f">{name}\tTF{name[2:6]}\n" + "".join(rows)
    return text.encode()


def planted(length, start, seed):
    """Random DNA with sites and Alu copies, and the rmsk rows of the copies, the first base of which is at `start`."""
    text, repeats = random_dna(length, seed), []
    words = list(PUBLISHED.values())
    for number, at in enumerate(range(100, length - 400, STEP)):
        word = words[number % 3]
        if number % 4 == 0:
            copy = ALU.decode()[:200]
            text = text[: at - 50] + copy + text[at + 150 :]
            repeats.append((start + at - 50, start + at + 150))
        text = text[:at] + word + text[at + len(word) :]
    return text, repeats


def rmsk(copies):
    rows = ("0", "2000", "100", "0", "0", "chr14", "{}", "{}", "0", "+", "AluY", "SINE", "Alu", "1", "200", "0", "1")
    return "".join("\t".join(rows).format(*copy) + "\n" for copy in copies).encode()


def fasta(name, parts):
    """A gzip FASTA of one record, in which N of any length are cheap."""
    text = "".join(parts)
    return gzip.compress(
        f">{name}\n".encode() + b"\n".join(text[i : i + 50_000].encode() for i in range(0, len(text), 50_000)) + b"\n",
        1,
        mtime=0,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory, warm):
    """The folder that the script wrote, and what it printed."""
    tmp = tmp_path_factory.mktemp("paper")
    torch.manual_seed(0)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=1026)).eval()
    save_model(model, tmp / "lm")
    chr1 = random_dna(30_000, 1)
    (one, copies), (two, more) = (planted(end - start, start, seed) for seed, (start, end) in enumerate(KNOWN))
    gaps = [KNOWN[0][0], KNOWN[1][0] - KNOWN[0][1], CHR14 - KNOWN[1][1]]
    chr14 = ["N" * gaps[0], one, "N" * gaps[1], two, "N" * gaps[2]]
    region = {"contig": "chr1", "start": 0, "end": 1000, "nats_per_base": next_base_loss(model, chr1[:1000].encode())}
    lengths = {"chr1": len(chr1), "chr14": CHR14}
    golden = {"format_version": 1, "model": MODEL, "assembly": "hg38", "contig_lengths": lengths, "regions": [region]}
    (tmp / "golden.json").write_text(json.dumps(golden))
    genome = {"hg38.fa.gz": fasta("chr1", [chr1]) + fasta("chr14", chr14)}
    repeats = {"rmsk.txt.gz": gzip.compress(rmsk(copies + more), mtime=0)}
    files = {"/download/data/2024/CORE/JASPAR2024_CORE_vertebrates_non-redundant_pfms_jaspar.txt": matrices()}
    for folder, known in (("bigZips", genome), ("database", repeats)):
        files |= {f"/goldenPath/hg38/{folder}/{name}": data for name, data in known.items()}
        files[f"/goldenPath/hg38/{folder}/md5sum.txt"] = md5_lines(known)
    with pytest.MonkeyPatch.context() as patch, mirror(files, tmp / "cache", patch) as server:
        publish(server, MODEL, {path.name: path.read_bytes() for path in (tmp / "lm").iterdir()}, REVISION, REVISION)
        hub = {"HF_ENDPOINT": server.url, "HF_HOME": tmp / "hf", "HF_HUB_DISABLE_XET": 1, "HF_HUB_DISABLE_TELEMETRY": 1}
        for name, value in {**hub, "GOLDEN": tmp / "golden.json", "WINDOWS": 20}.items():
            patch.setenv(name, str(value))
        environment = os.environ | {"PATH": f"{warm.parent}:{os.environ['PATH']}"}
        out = subprocess.run(
            ["bash", EXAMPLE, tmp / "out"], capture_output=True, text=True, check=False, env=environment
        )
    assert out.returncode == 0, out.stderr
    return tmp / "out", out.stdout


def test_both_settings_give_both_figures_and_the_rows_of_the_published_motifs(ran):
    out, printed = ran
    for sae in ("sae-paper", "sae"):
        for figure in ("figure2", "figure3"):
            assert (out / "figures" / f"{sae}.{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "sae-paper/cfg.json").read_text())["metadata"]["training"]["lr"] == 1e-6
    for folder in ("metrics-paper", "metrics"):
        table = pd.read_csv(out / folder / "metrics.tsv", sep="\t")
        assert {*"ACGT", *PUBLISHED} <= set(table["concept"])
    for name in PUBLISHED:
        assert sum(line.startswith(name) for line in printed.splitlines()) == 2  # one strand, twice


def test_the_published_motifs_are_judged_in_and_outside_of_repeats_and_by_insertion(ran):
    out, _ = ran
    table = pd.read_csv(out / "metrics/metrics.tsv", sep="\t").set_index("concept").loc[list(PUBLISHED)]
    assert table["ap_outside_repeats"].notna().any()
    inserted = pd.read_csv(out / "insertion/insertion.tsv", sep="\t")
    assert set(inserted["concept"]) == set(PUBLISHED)
    assert inserted[["insertion_auroc", "repeat_auroc"]].notna().all(axis=None)
    assert (out / "site/index.html").is_file()
