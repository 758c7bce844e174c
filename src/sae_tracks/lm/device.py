"""The device on which torch computes."""

import re

import torch

from sae_tracks.errors import SaeTracksError


def resolve_device(device: str) -> torch.device:
    """``auto`` is CUDA if there is one, else the CPU."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise SaeTracksError(f"--device {device}: it is auto, cpu or cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SaeTracksError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return torch.device(device)
