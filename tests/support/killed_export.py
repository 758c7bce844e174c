"""Run as a program: exports that are killed at one moment after the other, and go on; prints what was found as JSON.

Every export is a forked process. Moments are the calls below, counted; one that writes to the spool is killed in the
middle of its bytes.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

import pyBigWig
import torch
from toy import random_dna
from track_oracle import toy_source

from sae_tracks.files import sha256
from sae_tracks.tracks import BigWigValues, export, spool, write_bigwigs
from sae_tracks.tracks.bbi import bigfile as bbi
from sae_tracks.tracks.bbi import bigwig

RECORDS = {"long": random_dna(300) + "N" * 150 + random_dna(80, seed=1), "short": "ACGTN" * 4}
CALLS = [(spool.TrackSpool, "_commit"), (bbi.Blocks, "add"), (bbi.BigFile, "finish"), (bigwig, "check_bigwig")]
CALLS += [(Path, "replace"), (export, "fill")]
NEVER = 1 << 30


def die_at(moment):
    """Count the calls, and kill this process at one."""
    events = itertools.count()

    def watched(owner, name):
        original = getattr(owner, name)

        def call(*arguments, **named):
            if next(events) == moment:
                if name == "_commit":
                    own, runs = arguments
                    own._runs.write(runs[: len(runs) // 2])
                    own._index.write(own._row.tobytes()[:20])
                    own._runs.flush()
                    own._index.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **named)

        setattr(owner, name, call)

    for owner, name in CALLS:
        watched(owner, name)


def exported(folder, moment):
    """Signal that ended an export, and windows that it read (None where it was killed)."""
    record = folder.with_suffix(".reads")
    record.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        torch.set_num_threads(1)
        spool.HELD = 60
        die_at(moment)
        with toy_source(RECORDS, strands=["+", "-"]) as (source, _):
            write_bigwigs(source, [0, 4], folder, BigWigValues())
            record.write_text(str(len(source.lm.reads)))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(record.read_text()) if record.exists() else None


def sums(folder):
    return {path.name: sha256(path) for path in sorted(folder.glob("*.bw"))}


def opens(path):
    """Whether pyBigWig takes a file for a bigWig."""
    try:
        with pyBigWig.open(str(path)) as file:
            return file.isBigWig()
    except RuntimeError:
        return False


def main(folder, step):
    status, reads = exported(folder / "whole", NEVER)
    found = {"status": status, "reads": reads, "whole": sums(folder / "whole"), "killed": []}
    for moment in itertools.count(0, step):
        out = folder / str(moment)
        status, _ = exported(out, moment)
        if status == 0:
            break
        left = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".bw"]
        wrong = {name for name, found_sum in sums(out).items() if found_sum != found["whole"][name]}
        whole = found["whole"].values()  # a file that was complete, and not yet renamed, may open
        half = [path.name for path in left if path.suffix == ".part" and opens(path) and sha256(path) not in whole]
        again, reads = exported(out, NEVER)
        names = sorted(path.name for path in out.iterdir())
        found["killed"].append([moment, status, sorted(wrong), half, again, reads, sums(out), names])
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
