"""Attack every reader with damaged and hostile files: a command must end well, or with one line that says why.

Run ``python tests/faults/corrupt.py --cases 1500``. A case is a file of `fault_inputs.INPUTS`, a mutation of it, and
the command that reads it in a forked process.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST_MEMORY = 4 << 30  # bytes that a command may take beyond what the parent had
TIMEOUT = 60.0  # seconds
VARYING = {"provenance.json", "train_log.jsonl"}  # hold the command line or times
Mutation = Callable[[bytes, random.Random], bytes | None]
HOSTILE_JSON = ("[]", "null", "7", '"x"', "[" * 1000, "[" * 100_000, "1" * 6000, '{"a": ' * 500, "{", "", "NaN", "{}")
HOSTILE_VALUES = (
    None,
    True,
    -1,
    0,
    1,
    10**9,
    10**18,
    -(10**18),
    1e308,
    "x",
    "",
    "../../x",
    "a\tb\n",
    [],
    {},
    [[]],
    [None],
    0.5,
)
HOSTILE_WORDS = ("", "x", "-1", "0", "1e308", "nan", "inf", "99999999999", "9" * 400, "=1+1", "\x00", "é", "a b")
KINDS = {
    "json": (".json",), "gzip": (".gz",), "zip": (".npz", ".pt", ".ckpt"), "npy": (".npy",),
    "safetensors": (".safetensors",), "parquet": (".parquet",),
    "text": (".bed", ".bedgraph", ".gtf", ".gff3", ".txt", ".out", ".narrowPeak", ".pfm", ".jaspar", ".meme", ".homer",
             ".vcf", ".tsv", ".fa", ".fai", ".jsonl"),
}  # fmt: skip


# Mutations: a function of the bytes and a random generator, which gives None where it does not apply.


def truncated(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def one_bit(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def some_bytes(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 4, 16))):
        changed[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(changed)


def early_bytes(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 2, 8))):
        changed[draw.randrange(min(len(data), 256))] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
    return bytes(changed)


def empty(data: bytes, draw: random.Random) -> bytes:
    return b""


def zeros(data: bytes, draw: random.Random) -> bytes:
    start = draw.choice((0, draw.randrange(len(data))))
    return data[:start] + bytes(len(data) - start)


def junk(data: bytes, draw: random.Random) -> bytes:
    return draw.choice((draw.randbytes(min(len(data), 4096)), b"lorem ipsum\n" * 50, b"\xff" * 64, b"<html></html>\n"))


def doubled(data: bytes, draw: random.Random) -> bytes:
    return data + data


def swapped(data: bytes, draw: random.Random) -> bytes:
    """Another file of the set in its place."""
    return draw.choice(OTHERS)


def other_json(data: bytes, draw: random.Random) -> bytes:
    return draw.choice(HOSTILE_JSON).encode()


def other_value(data: bytes, draw: random.Random) -> bytes | None:
    """One value of a JSON document replaced, or one key removed."""
    document = json.loads(data)
    places = list(_places(document))
    if not places:
        return None
    holder, key = draw.choice(places)
    if draw.random() < 0.15:
        del holder[key]
    else:
        holder[key] = draw.choice(HOSTILE_VALUES)
    return json.dumps(document).encode()


def _places(value) -> Iterator[tuple]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def other_word(data: bytes, draw: random.Random) -> bytes | None:
    """One word of a line replaced."""
    parts = re.split(rb"([\t \n]+)", data)
    places = [i for i in range(0, len(parts), 2) if parts[i]]
    if not places:
        return None
    parts[draw.choice(places)] = draw.choice(HOSTILE_WORDS).encode()
    return b"".join(parts)


def other_lines(data: bytes, draw: random.Random) -> bytes:
    """Lines dropped, repeated, in another order, without an end, or very long."""
    lines = data.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    return b"".join(
        draw.choice(
            (
                lines[:at] + lines[at + 1 :],
                [*lines[:at], lines[at], *lines[at:]],
                draw.sample(lines, len(lines)),
                [*lines[:at], lines[at].rstrip(b"\n")[: draw.randrange(1, 20)]],
                [*lines[:at], b"A" * 10_000_000, *lines[at:]],
                [line.replace(b"\n", b"\r\n") for line in lines],
                [line.replace(b"\t", b" ") for line in lines],
            )
        )
    )


def repacked(data: bytes, draw: random.Random) -> bytes | None:
    """The text inside of gzip changed and packed again."""
    text = gzip.decompress(data)
    change = draw.choice((truncated, other_word, other_lines, some_bytes, junk))
    return gzip.compress(change(text, draw) or b"", mtime=0)


def bomb(data: bytes, draw: random.Random) -> bytes:
    """A small gzip file that unfolds to 6 GB: of one line, or of many."""
    if not BOMBS:
        for line in (b"A" * (1 << 20), b"c1\t1\t2\n" * (1 << 17)):
            packed = gzip.compress(line, 6, mtime=0)
            BOMBS.append(packed * (6000 * (1 << 20) // len(line)))
    return draw.choice(BOMBS)


BOMBS: list[bytes] = []
OTHERS: list[bytes] = []


def other_array(data: bytes, draw: random.Random) -> bytes:
    """One array of an .npz replaced, or the whole compressed."""
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    name = draw.choice(list(arrays))
    old = arrays[name]
    arrays[name] = draw.choice(
        (
            np.zeros(3),
            old.astype(str) if old.size < 10_000 else old[:1],
            old[..., :0] if old.ndim else np.array([]),
            -np.abs(old) - 1 if old.dtype.kind in "fiu" else old[..., :0] if old.ndim else old,
            old.astype(np.float64) + 0.5 if old.dtype.kind in "fiu" else old,
            np.full(old.shape, 2**31 - 1) if old.dtype.kind in "fiu" else old,
            np.full(old.shape, np.nan) if old.dtype.kind in "fiu" else old,
            np.concatenate((old, old)) if old.ndim else np.zeros(3),
            np.zeros(1 << 27, np.uint8),
        )
    )
    out = io.BytesIO()
    draw.choice((np.savez, np.savez_compressed))(out, **arrays)
    return out.getvalue()


def other_member(data: bytes, draw: random.Random) -> bytes | None:
    """One file of a zip archive changed inside, with a right CRC."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = draw.choice(names)
        for name in names:
            content = old.read(name)
            if name == chosen and content:
                content = draw.choice((some_bytes, early_bytes, truncated))(content, draw)
            new.writestr(name, content)
    return out.getvalue()


def other_header(data: bytes, draw: random.Random) -> bytes:
    """The header of an .npy file with another shape or type."""
    shape = draw.choice(("(-1,)", "(10**9, 10**9)", "(0,)", "(1,)", "('x',)", "(1, 2, 3)", f"({10**12}, 16)"))
    kind = draw.choice(("<f2", "<f8", "|O", "<U9", "<i4", "x"))
    header = f"{{'descr': '{kind}', 'fortran_order': {draw.choice(('True', 'False', '3'))}, 'shape': {shape}, }}"
    size = int.from_bytes(data[8:10], "little")
    return data[:10] + header.ljust(size - 1)[: size - 1].encode() + b"\n" + data[10 + size :]


def other_tensors(data: bytes, draw: random.Random) -> bytes:
    """The header of a safetensors file with another type, shape or place of a tensor."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = draw.choice([key for key in header if key != "__metadata__"] or list(header))
    entry = header[name]
    change = draw.randrange(6)
    if change == 0:
        entry["dtype"] = draw.choice(("I64", "I32", "BOOL", "F16", "F64", "U8", "XX"))
    elif change == 1:
        entry["shape"] = draw.choice(([], [1], [-1], [10**18], [0], entry["shape"][::-1], "x"))
    elif change == 2:
        entry["data_offsets"] = draw.choice(([0, 0], [0, 10**18], [-1, 4], [8, 4], "x"))
    elif change == 3:
        header["other"] = header.pop(name)
    elif change == 4:
        del header[name]
    else:
        header["__metadata__"] = draw.choice(({"run": "[" * 2000}, {"run": "[]"}, {"run": "7"}, 3, {"format": "x"}))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def other_type(data: bytes, draw: random.Random) -> bytes:
    """All weights of a safetensors file as whole numbers, with NaN, or very large."""
    import torch
    from safetensors.torch import load, save

    tensors = load(data)
    name = draw.choice(list(tensors))
    changed = tensors[name].clone()
    if changed.numel() and changed.is_floating_point():
        changed.view(-1)[0] = draw.choice((float("nan"), float("inf"), 1e30))
    whole = draw.random() < 0.5
    return save({n: t.to(torch.int64) if whole else changed if n == name else t for n, t in tensors.items()})


def other_table(data: bytes, draw: random.Random) -> bytes:
    """A parquet file with its rows in another order, or with a column that is missing, of text, NaN or negative."""
    import pandas as pd

    table = pd.read_parquet(io.BytesIO(data))
    column = draw.choice(list(table.columns))
    numbers = table[column].dtype.kind in "fiu"
    table = draw.choice(
        (
            lambda: table.drop(columns=column),
            lambda: table.assign(**{column: "x"}),
            lambda: table.assign(**{column: np.nan}),
            lambda: table.assign(**{column: -1.0 if numbers else None}),
            lambda: table.assign(**{column: np.inf if numbers else 3}),
            lambda: table.iloc[::-1],
            lambda: table.iloc[:-1],
            lambda: pd.concat([table, table]),
            lambda: table.iloc[:0],
            lambda: pd.DataFrame({"a": [1]}),
        )
    )()
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    return out.getvalue()


ANY = (truncated, one_bit, some_bytes, early_bytes, empty, zeros, junk, doubled, swapped)
OF_KIND: dict[str, tuple[Mutation, ...]] = {
    "json": (other_json, other_value, other_value, other_value),
    "gzip": (repacked, bomb),
    "zip": (other_member,),
    "npy": (other_header,),
    "safetensors": (other_tensors, other_type),
    "parquet": (other_table, other_table),
    "text": (other_word, other_word, other_lines, other_lines),
}


def mutations(path: str) -> tuple[Mutation, ...]:
    """The mutations of a file, by its ending."""
    kinds = [kind for kind, endings in KINDS.items() if path.endswith(endings)]
    arrays = (other_array, other_array) if path.endswith(".npz") else ()
    return sum((OF_KIND[kind] for kind in kinds), ANY) + arrays


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    status: int  # its exit status, or minus the signal
    seconds: float
    stderr: str
    files: dict[str, str]  # checksums of all files afterwards
    hung: bool = False

    def kind(self, untouched: "Ending", path: str) -> str:
        """Its name. The mutated file at `path` may stay as it is, or be made again."""
        if self.hung:
            return "hang"
        if self.status < 0:
            return "crash"
        if "Traceback (most recent" in self.stderr:
            return "traceback"
        if self.status:
            said = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
            return "refused" if self.status in (1, 2) and len(said) == 1 else "unclear"
        differ = {name for name in self.files | untouched.files if self.files.get(name) != untouched.files.get(name)}
        return "other result" if differ - {path} else "no effect"


class Bench:
    """The set of files in a folder, and what each command gives without a mutation."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
        import fault_inputs

        self.inputs, self.words, self.folder = fault_inputs.INPUTS, fault_inputs.words, folder
        self.set = folder / "set"
        self.set.mkdir()
        fault_inputs.write_inputs(self.set)
        OTHERS[:] = [self.file(path).read_bytes() for path in self.inputs]
        self.untouched: dict[str, Ending] = {}

    def file(self, path: str, within: Path | None = None) -> Path:
        """A file of the set; of a folder the last one in it."""
        found = (within or self.set) / path
        return max(found.iterdir()) if path.endswith("/") else found

    def expected(self, command: str) -> Ending:
        """What a command gives without a mutation."""
        if command not in self.untouched:
            ending = self.run(command, "", None)
            assert ending.status == 0, f"{command}: {ending}"
            self.untouched[command] = ending
        return self.untouched[command]

    def run(self, command: str, path: str, content: bytes | None) -> Ending:
        """Run a command in a copy of the set in which a file has other content."""
        case = self.folder / "case"
        shutil.copytree(self.set, case)
        if content is not None:
            changed = self.file(path, case)
            renamed = _named_by_content(changed, content)
            changed.unlink()
            renamed.write_bytes(content)
        try:
            return self._forked(self.words(command), case)
        finally:
            shutil.rmtree(case, ignore_errors=True)

    def _forked(self, words: list[str], case: Path) -> Ending:
        started = time.monotonic()
        child = os.fork()
        if not child:
            _become(words, case)
        status = _wait(child, TIMEOUT)
        seconds = time.monotonic() - started
        stderr = (case / ".stderr").read_text(errors="replace") if (case / ".stderr").exists() else ""
        return Ending(status or 0, seconds, stderr, _files(case), hung=status is None)


def _named_by_content(path: Path, content: bytes) -> Path:
    """A checkpoint's name holds its checksum: half of the mutations keep it right, so that the content is read."""
    if path.parent.name != "checkpoints" or (content and content[0] % 2):
        return path
    start = path.name.rpartition("-")[0]
    return path.with_name(f"{start}-{hashlib.sha256(content).hexdigest()[:12]}.safetensors")


def _files(folder: Path) -> dict[str, str]:
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name not in VARYING | {".stderr"})
    paths = (p for p in paths if not p.name.endswith(("provenance.json", ".lock")) and "checkpoints" not in p.parts)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def _become(words: list[str], case: Path) -> None:
    """Run a command in this forked process, and end it."""
    status = 99
    try:
        os.setsid()
        os.chdir(case)
        for number, name in ((1, ".stdout"), (2, ".stderr")):
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["sae-tracks", *words]
        from command_line import _status  # the exit status that Python gives a program

        from sae_tracks.cli import main

        status = _status(main)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _wait(child: int, seconds: float) -> int | None:
    """The exit status of a child, or minus its signal; None if it hung and had to be killed.

    It hangs if it takes that much CPU time, or does nothing for so long. So a busy machine makes no hang.
    """
    used, since = 0.0, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        now = _cpu_seconds(child)
        if now > used:
            used, since = now, time.monotonic()
        if used > seconds or time.monotonic() - since > seconds:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.002)


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """A mutation of a file, and how the command that reads it ended."""

    path: str
    mutation: str
    seed: int
    kind: str
    ending: Ending


def attack(bench: Bench, cases: int, seed: int = 0, only: str = "", mutation: str = "") -> Iterator[Case]:
    """Run a number of cases: the files in turn, with mutations drawn at random from the seed."""
    paths = [path for path in bench.inputs if re.search(only, path)]
    for number in range(cases):
        path = paths[number % len(paths)]
        case_seed = seed * 1_000_003 + number
        draw = random.Random(case_seed)
        chosen = draw.choice([m for m in mutations(path) if re.search(mutation, m.__name__)] or [one_bit])
        data = bench.file(path).read_bytes()
        content = chosen(data, draw)
        if content is None or content == data:
            continue
        command = bench.inputs[path]
        untouched = bench.expected(command)
        ending = bench.run(command, path, content)
        yield Case(path, chosen.__name__, case_seed, ending.kind(untouched, path), ending)


BAD = ("traceback", "hang", "crash", "unclear")
NO_TELLING = (  # why another result is accepted, by the file
    (r"\.(bed|bed\.gz|gtf|gff3|bedgraph|narrowPeak|txt|out|bb|bw|vcf|vcf\.gz|bcf)$", "a sound file of other data"),
    (r"motifs\.", "a sound file of other matrices"),
    (r"\.(fa|fa\.gz)$", "a sound FASTA of other letters"),
    (r"saelens|sparsify|trainer|lightning", "weights or settings of another program, without a checksum"),
    (r"sae/", "other weights or statistics of an SAE, which has no checksum of itself"),
    (r"lm/config", "a setting that no weight depends on"),
    (r"scores/|explained/|tracks/provenance", "a table or record that is shown as it is"),
    (r"checkpoints/|train_log", "a torn checkpoint or line, which the run passes over"),
    (r"part/|act/", "a file that is made again, or other data of another extraction"),
    (r"provenance", "facts that are copied"),
    (r"matrix\.gz", "other values of a heatmap"),
)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def report(counts: Counter, accepted: Counter, seconds: float) -> None:
    """Print what was accepted, with the reason, and the counts."""
    say("accepted with another result:")
    for (path, mutation), count in sorted(accepted.items()):
        reason = next((reason for pattern, reason in NO_TELLING if re.search(pattern, path)), "NO REASON IS KNOWN")
        say(f"  {count} of {path} {mutation}: {reason}")
    said = ", ".join(f"{counts[kind]} {kind}" for kind in ("refused", "no effect", "other result", *BAD))
    say(f"{counts.total()} tried in {seconds:.0f} s: {said}")


def main() -> int:
    """Attack, and return 1 if a command ended in another way than well or with one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="regular expression: files")
    parser.add_argument("--mutation", default="", help="regular expression: mutations")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    os.environ |= {"SLURM_CPUS_PER_TASK": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch

    torch.set_num_threads(1)
    started, counts, accepted = time.monotonic(), Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for case in attack(bench, options.cases, options.seed, options.only, options.mutation):
            counts[case.kind] += 1
            if case.kind == "other result":
                accepted[case.path, case.mutation] += 1
            if case.kind in BAD or options.verbose:
                last = " / ".join(case.ending.stderr.strip().splitlines()[-3:])[:300]
                say(f"{case.kind}: {case.path} {case.mutation} ({case.ending.seconds:.1f} s, seed {case.seed}): {last}")
    report(counts, accepted, time.monotonic() - started)
    return int(any(counts[kind] for kind in BAD))


if __name__ == "__main__":
    sys.exit(main())
