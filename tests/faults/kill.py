"""Run as a program: verbs that are killed, stopped, out of disk space or run twice at once, and run again.

Every run is a forked process, so Python's imports are paid once. A run that is not disturbed says what the files must
be. After a fault every file that is there has these bytes or is one that a run works on; after the same command again
the folder is the same, byte for byte, and nothing else is left in it or among the temporary files.

    python tests/faults/kill.py --kills 200
    python tests/faults/kill.py --kills 50 --fault term --verbs train-topk shuffle
"""

import argparse
import gzip
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
    os.environ[name] = "1"  # threads of the parent would not be in its children
sys.path.append(str(Path(__file__).parents[1] / "support"))

LM = "-m lm -p 1 --device cpu"
GROWING = ("*.part", "*.part/*", ".unfinished", "*.lock")  # hidden until it is whole
SPOOL = ("*runs.bin", "*index.bin", "*spool.json", "*lock")
TRAINING = ("train_log.jsonl", "checkpoints", "checkpoints/*", "provenance.json")  # a log that grows, how it began
TIMES = {"seconds", "rows_per_second"}  # facts of JSON that no two runs share


@dataclass(frozen=True, slots=True)
class Verb:
    """A command, in a folder in which the inputs lie and ``out`` is the output."""

    words: str
    working: tuple[str, ...] = ()  # files of an unfinished run under names of their own, by design
    resumes: bool = False  # whether they may stay after a signal

    def works_on(self, file: str) -> bool:
        """Whether a file of an unfinished run may be there."""
        return any(fnmatch(file, pattern) for pattern in (*GROWING, *self.working))


VERBS = {
    "extract": Verb(f"extract lm g.fa --layer 3 {LM[6:]} -o out", ("windows.bed", "plan.json", "shard-*"), True),
    "shuffle": Verb("shuffle act -o out --memory 48K"),
    **{
        f"train-{arch}": Verb(
            f"train shuffled -o out --arch {arch} --d-sae 32 --batch-size 64 {LM[6:]}", TRAINING, True
        )
        for arch in ("topk", "batchtopk", "standard", "jumprelu")
    },
    "train-genome": Verb(
        f"train lm --genome g.fa --layer 3 -n 20 -o out --d-sae 32 --batch-size 64 {LM[6:]}", TRAINING, True
    ),
    "pretrain": Verb(f"pretrain g.fa -o out --steps 30 --batch-size 2 --held-out held.bed {LM[6:]}", TRAINING, True),
    "export-bigwig": Verb(f"export-bigwig sae g.fa -f 0-5 --read-strand both -o out {LM}", SPOOL, True),
    "export-bigwig-shard": Verb(f"export-bigwig sae g.fa -f 0-5 --shard 1/2 -o out {LM}", SPOOL, True),
    "merge-bigwig": Verb("merge-bigwig tracks1 tracks2 -o out -p 1"),
    "export-bed": Verb(f"export-bed sae g.fa -f 0-5 -o out/f.bed.gz {LM}", SPOOL, True),
    "metrics": Verb(
        f"metrics sae g.fa sites.bed --min-instances 5 --select-on chr1 --report-on chr2 --motifs m.pfm -o out {LM}"
    ),
    "metrics-shard": Verb(
        f"metrics sae g.fa sites.bed --min-instances 5 --select-on chr1 --report-on chr2 --shard 1/2 -o out {LM}",
        ("controls/*", "counts.npz"),
    ),
    "merge-metrics": Verb("merge-metrics counts1 counts2 -o out"),
    "scan": Verb("scan g.fa --motifs m.pfm -o out/sites.bed.gz"),
    "effects": Verb(f"effects sae g.fa -f 0-3 --annotation sites.bed -o out/effects.tsv {LM}"),
    "variants": Verb(f"variants sae g.fa v.vcf --read-strand both -o out/v.vcf.gz {LM}"),
    "insert": Verb(f"insert sae g.fa -f 0,1 --motifs m.pfm --matrix M1 -o out {LM}"),
    "saturate": Verb(f"saturate sae g.fa -r chr1:101-106 -f 0 -o out {LM}"),
    "matrix": Verb(f"matrix sae g.fa peaks.bed -o out/m.parquet {LM}"),
    "matrix-mtx": Verb(f"matrix sae g.fa peaks.bed -o out/m.mtx {LM}"),
    "enrich": Verb(f"enrich sae g.fa peaks.bed --universe universe.bed -f 0-5 -o out {LM}"),
    "metrics-signals": Verb(
        f"metrics sae g.fa s.bedGraph --select-on chr1 --report-on chr2 -o out {LM}",
    ),
    "evaluate": Verb(f"evaluate sae g.fa -r chr1:1-900 -o out/evaluation.json {LM}"),
    "check-seams": Verb(f"check-seams sae g.fa -f 0-5 -o out {LM}"),
    "motifs": Verb(f"motifs sae g.fa -f 0-3 --places 10 --select-on chr1 --report-on chr2 --motifs m.pfm -o out {LM}"),
    "motifs-shard": Verb(
        f"motifs sae g.fa -f 0-3 --places 10 --select-on chr1 --report-on chr2 --motifs m.pfm --shard 1/2 -o out {LM}",
        resumes=True,
    ),
    "merge-shards": Verb("merge-shards motifs1 motifs2 -o out -p 1"),
    "compare": Verb(f"compare sae sae g.fa -o out {LM}"),
    "atlas": Verb(f"atlas sae g.fa -o out {LM}"),
    "describe": Verb("describe sae scores -o out"),
    "match-regions": Verb("match-regions g.fa few.bed --per-region 2 -o out/matched.bed -p 1"),
    "publish": Verb("publish sae --scores scores -o out"),
    "report": Verb("report scores -o out"),
    "hub": Verb("hub tracks --genome g.fa -o out"),
    "fetch": Verb("fetch genome hg38 -r chr1 -o out/c.fa.gz --cache out/cache", ("*.part", "*.part.json"), True),
}


@dataclass(slots=True)
class Ended:
    """How a run ended."""

    status: int  # negative: the signal that killed it
    said: str  # on stderr
    seconds: float


@dataclass(slots=True)
class Found:
    """What was found of one verb."""

    faults: Counter = field(default_factory=Counter)  # by what they met
    wrong: list[str] = field(default_factory=list)


def make_small():
    """Let checkpoints, shards and models be small, so that a run of a second has many of them; one thread."""
    import torch

    from sae_tracks import plan_extraction
    from sae_tracks.pretrain import pretrain
    from sae_tracks.tracks import spool
    from sae_tracks.train import train

    plan_extraction.__kwdefaults__["rows_per_shard"] = 400
    torch.set_num_threads(1)
    pretrain.SIZES["nano"] = pretrain.Size(16, 2, 64)
    pretrain.SAVE_SECONDS = train.SAVE_EVERY = 0.05
    spool.HELD = 500


def write_inputs(folder):
    """The files that verbs read; those that other verbs write are made by them, in `prepare`."""
    from tiny import write_tiny_model
    from toy import random_dna, write_fasta
    from variant_files import write_vcf

    from sae_tracks.genome import Genome

    write_tiny_model(folder, max_seq_len=130)
    dna = random_dna(4000)
    Genome(write_fasta(folder / "g.fa", chr1=dna, chr2=random_dna(900, seed=1)))  # with its index
    draw = random.Random(0)
    sites = sorted((draw.choice(("chr1", "chr2")), draw.randrange(0, 880)) for _ in range(120))
    (folder / "sites.bed").write_text("".join(f"{c}\t{at}\t{at + 12}\ts{at % 2}\t0\t+\n" for c, at in sites))
    peaks = [f"chr1\t{at}\t{at + 40}\n" for at in range(0, 3900, 60)]
    (folder / "universe.bed").write_text("".join(peaks))
    (folder / "peaks.bed").write_text("".join(peaks[::3]))
    (folder / "few.bed").write_text("".join(peaks[:3]))
    values = (f"{c}\t{at}\t{at + 10}\t{draw.randrange(20)}\n" for c in ("chr1", "chr2") for at in range(0, 880, 10))
    (folder / "s.bedGraph").write_text("".join(values))
    (folder / "held.bed").write_text("chr2\t0\t300\n")
    (folder / "m.pfm").write_text(
        ">M1 one\nA [ 9 0 0 1 9 0 8 0 ]\nC [ 0 9 0 8 0 0 1 0 ]\nG [ 0 0 9 0 0 9 0 1 ]\nT [ 0 0 0 0 0 0 0 8 ]\n"
        ">M2 two\nA [ 0 0 9 9 0 1 0 2 ]\nC [ 9 0 0 0 8 0 0 2 ]\nG [ 0 9 0 0 1 8 0 3 ]\nT [ 0 0 0 0 0 0 9 2 ]\n"
    )
    other = {"A": "C", "C": "G", "G": "T", "T": "A"}
    write_vcf(
        folder / "v.vcf", [("chr1", at + 1, dna[at], other[dna[at]]) for at in range(50, 3900, 77)], contigs=("chr1",)
    )
    return dna


PREPARED = {  # input: the verb that makes it, and its shard
    "act": ("extract", ""),
    "shuffled": ("shuffle", ""),
    "tracks": ("export-bigwig", ""),
    "tracks1": ("export-bigwig-shard", "1/2"),
    "tracks2": ("export-bigwig-shard", "2/2"),
    "counts1": ("metrics-shard", "1/2"),
    "counts2": ("metrics-shard", "2/2"),
    "scores": ("metrics", ""),
    "motifs1": ("motifs-shard", "1/2"),
    "motifs2": ("motifs-shard", "2/2"),
}


def prepare(verb, folder):
    """Make the inputs of a verb that other verbs make."""
    for name in verb.words.split():
        if name in PREPARED and not (folder / name).exists():
            maker, shard = PREPARED[name]
            prepare(VERBS[maker], folder)
            succeed(VERBS[maker].words.replace("1/2", shard), folder)
            (folder / "out").rename(folder / name)


def succeed(words, folder):
    """Run a command that nothing disturbs."""
    ended = finished(begin(words, folder))
    if ended.status:
        raise SystemExit(f"{words}: {ended.status}\n{ended.said}")
    return ended


def serve(dna):
    """Start a server of the genome in a process of its own, which ends with this one; returns its address and id."""
    from mirror import Handler, md5_lines

    data = gzip.compress(f">chr1\n{dna}\n".encode(), mtime=0)
    path = "/goldenPath/hg38/chromosomes"
    files = {f"{path}/chr1.fa.gz": data, f"{path}/md5sum.txt": md5_lines({"chr1.fa.gz": data})}
    state = SimpleNamespace(files=files, seen=[], cut={}, busy={}, ranges=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"state": state}))
    child = os.fork()
    if not child:
        server.serve_forever()
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}", child


def begin(words, folder, largest=None):
    """Start a command in a folder; at most `largest` bytes fit into a file."""
    (folder / "tmp").mkdir(exist_ok=True)
    sys.stdout.flush()
    said, stderr = os.pipe()  # a file would fill up too
    started, child = time.monotonic(), os.fork()
    if child:
        os.close(stderr)
        return child, said, started
    status = 1
    try:
        status = _run(words, folder, stderr, largest)
    finally:
        os._exit(status)


def _run(words, folder, stderr, largest):
    from sae_tracks.cli import main

    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(stderr, 2)
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    sys.argv = ["sae-tracks", *words.split()]
    logging.getLogger().handlers.clear()
    os.environ["TMPDIR"], tempfile.tempdir = str(folder / "tmp"), None
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        return ended.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def finished(begun):
    """Wait for a command."""
    child, stderr, started = begun
    with os.fdopen(stderr) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), said, time.monotonic() - started)


def fresh(inputs, folder):
    """An empty folder with links to the inputs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in inputs.iterdir():
        if path.name != "tmp":
            (folder / path.name).symlink_to(path)
    return folder


def files_of(folder):
    """Path below ``out`` to content, without the facts of JSON that no two runs share.

    An empty folder counts too, but not in a cache, whose folders are made before what they hold.
    """
    out = folder / "out"
    empty = [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir()) and "cache" not in path.parts]
    paths = sorted([*empty, *(path for path in out.rglob("*") if not path.is_dir())])
    return {str(path.relative_to(out)): _content(path) for path in paths}


def _content(path):
    if path.is_dir():
        return b"an empty folder"
    data = path.read_bytes()
    if path.suffix not in (".json", ".jsonl"):
        return data
    try:
        records = [json.loads(line) for line in data.splitlines()] if path.suffix == ".jsonl" else json.loads(data)
    except ValueError:
        return data
    return json.dumps(_without_times(records)).encode()


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


class Harness:
    """Faults of verbs in a folder; the inputs are made first."""

    def __init__(self, work, seed):
        self.work, self.inputs, self.draw = work, work / "inputs", random.Random(seed)
        self.inputs.mkdir()
        child = os.fork()  # the parent starts no threads of torch
        if not child:
            status = 1
            try:
                (self.work / "dna").write_text(write_inputs(self.inputs))
                status = 0
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1]:
            raise SystemExit("the inputs could not be made")
        address, self.server = serve((self.work / "dna").read_text())
        os.environ["SAE_TRACKS_UCSC"] = address
        self.whole, self.found = {}, {}

    def close(self):
        os.kill(self.server, signal.SIGKILL)
        os.waitpid(self.server, 0)

    def undisturbed(self, name):
        """What a verb writes, and how long it takes; the same twice."""
        if name not in self.whole:
            prepare(VERBS[name], self.inputs)
            self.found[name], made = Found(), []
            for _ in range(2):  # the first one may compile
                folder = fresh(self.inputs, self.work / "run")  # records hold whole paths
                seconds = succeed(VERBS[name].words, folder).seconds
                made.append(files_of(folder))
            self._compare(name, "a second run", made[0], made[1])
            self.whole[name] = made[1], seconds
        return self.whole[name]

    def _compare(self, name, when, expected, got):
        differ = sorted(file for file in expected | got if expected.get(file) != got.get(file))
        if differ:
            self.found[name].wrong.append(f"{when}: {differ[:4]} differ of {len(expected)} files")

    def fault(self, name, kind):
        """Disturb a verb once, look at what is there, and run it again."""
        verb, (expected, seconds) = VERBS[name], self.undisturbed(name)
        folder, found = fresh(self.inputs, self.work / "run"), self.found[name]
        if kind == "full":
            largest = self.draw.randrange(0, max(map(len, expected.values())) + 1)
            ended = finished(begin(verb.words, folder, max(largest, 1)))
            when = f"files of at most {largest} bytes"
        elif kind == "two":
            begun = [begin(verb.words, folder)]
            time.sleep(self.draw.random() * seconds)
            begun.append(begin(verb.words, folder))
            ended = max(map(finished, begun), key=lambda ended: ended.status)
            when = "two at once"
        else:
            delay = self.draw.random() * seconds
            begun = begin(verb.words, folder)
            time.sleep(delay)
            os.kill(begun[0], signal.SIGKILL if kind == "kill" else signal.SIGTERM)
            ended = finished(begun)
            when = f"{kind} after {delay:.3f} of {seconds:.3f} s"
        found.faults[met := self._met(kind, ended, found, when)] += 1
        sys.stderr.write(f"{name}: {when}: {met}, {len(found.wrong)} wrong so far\n")
        left = files_of(folder)
        for file, content in left.items():
            if content != expected.get(file) and not verb.works_on(file):
                found.wrong.append(f"{when}: {file} is half written or another")
        hidden = [file for file in left if fnmatch(Path(file).name, ".*.part")]
        if ended.status >= 0 and (hidden or any((folder / "tmp").iterdir())):
            found.wrong.append(f"{when}: ended with {ended.status}, but {hidden or 'temporary files'} stay")
        again = finished(begin(verb.words, folder))
        if again.status:
            found.wrong.append(f"{when}: the same command again ends with {again.status}: {again.said[-300:]}")
            return
        self._compare(name, f"{when}, and again", expected, files_of(folder))
        # pysam makes two empty files for what samtools says; nobody but pysam knows that they are left over
        if rest := [path.name for path in (folder / "tmp").iterdir() if path.is_dir() or path.stat().st_size]:
            found.wrong.append(f"{when}, and again: {rest} among the temporary files")

    def _met(self, kind, ended, found, when):
        """What a fault met, in a word; anything that is not foreseen is noted."""
        lines = ended.said.strip().splitlines()
        if ended.status == 0:
            return "both ended" if kind == "two" else "too late"
        if kind == "kill" and ended.status == -signal.SIGKILL:
            return "killed"
        if kind == "term" and ended.status == -signal.SIGTERM:
            return "before it began"
        if kind == "term" and ended.status == 143 and lines[-1].startswith("stopped by SIGTERM: the same command "):
            return "stopped"
        errors = [line for line in lines if line.startswith("error: ")]
        if kind in ("full", "two") and ended.status == 1 and len(errors) == 1 and "Traceback" not in ended.said:
            return "refused"
        found.wrong.append(f"{when}: ends with {ended.status}: {ended.said[-600:]}")
        return "unforeseen"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="number of faults over all verbs")
    parser.add_argument("--fault", nargs="+", choices=("kill", "term", "full", "two"), default=["kill"])
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=list(VERBS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from warm import import_everything

    import_everything()
    make_small()
    with tempfile.TemporaryDirectory() as work:
        harness = Harness(Path(work), options.seed)
        try:
            for i in range(options.kills):
                kind = options.fault[(i + i // len(options.verbs)) % len(options.fault)]
                harness.fault(options.verbs[i % len(options.verbs)], kind)
        finally:
            harness.close()
        for name, found in harness.found.items():
            faults = ", ".join(f"{count} {what}" for what, count in sorted(found.faults.items()))
            sys.stdout.write(f"{name:20} {harness.whole[name][1]:6.2f} s  {faults}\n")
            sys.stdout.writelines(f"    WRONG {line}\n" for line in found.wrong)
        total = sum((found.faults for found in harness.found.values()), Counter())
        wrong = sum(len(found.wrong) for found in harness.found.values())
        sys.stdout.write(f"{sum(total.values())} faults: {dict(total)}; wrong: {wrong}\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
