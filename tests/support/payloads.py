"""Checkpoints that would run something, were they unpickled."""

import functools
import os
import pickle

import torch
from lightning_files import Raw


def touch(path):
    return f"open({str(path)!r}, 'w').close()"


def payloads(marker):
    """Objects whose unpickling makes `marker`."""
    program = marker.parent / "program.pkl"
    program.write_bytes(pickle.dumps(Raw(os.system, f"touch {marker}")))
    torch.save(Raw(os.system, f"touch {marker}"), marker.parent / "inner.pt")
    (marker.parent / "hubconf.py").write_text(f"{touch(marker)}\ndef model(): return 1\n")
    return {
        "system": Raw(os.system, f"touch {marker}"),
        "eval": Raw(eval, touch(marker)),
        "getattr": Raw(Raw(getattr, Raw(__import__, "os"), "system"), f"touch {marker}"),
        "torch.load": Raw(functools.partial(torch.load, str(marker.parent / "inner.pt"), weights_only=False)),
        "torch.hub": Raw(torch.hub._load_local, str(marker.parent), "model"),
        "pickle in pickle": Raw(pickle.load, Raw(open, str(program), "rb")),
        "partial": Raw(Raw(functools.partial, os.system, f"touch {marker}")),
    }


NAMES = ["system", "eval", "getattr", "torch.load", "torch.hub", "pickle in pickle", "partial"]
