"""A tiny HyenaDNA and an SAE of it in a folder, for verbs that run a real model."""

from pathlib import Path

import torch
from toy import unit_stats

from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, describe, load_lm
from sae_tracks.sae import SAE, save_sae


def write_tiny_model(folder: Path, *, d_sae: int = 32, bias: float = 0.0, max_seq_len: int = 66) -> None:
    """Write ``lm`` with drawn weights, and ``sae`` of its third block."""
    torch.manual_seed(0)
    config = HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=max_seq_len)
    HyenaDNAForCausalLM(config).save_pretrained(folder / "lm")
    weights = torch.randn(16, d_sae, generator=torch.Generator().manual_seed(1))
    metadata = {"lm": describe(load_lm(str(folder / "lm"), 3))}
    sae = SAE(weights, torch.full((d_sae,), bias), weights.T, torch.zeros(16), metadata, unit_stats(d_sae))
    save_sae(sae, folder / "sae")
