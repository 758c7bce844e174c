"""Gene language models. Importing this registers HyenaDNA with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from sae_tracks.lm.hyenadna import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAModel
from sae_tracks.lm.inference import HyenaDNAReader
from sae_tracks.lm.load import load_causal_lm, load_lm
from sae_tracks.lm.pretrained import quiet_transformers
from sae_tracks.lm.protocol import GeneLM, describe
from sae_tracks.lm.tokens import HyenaDNATokenizer, base_tokens

AutoConfig.register("hyenadna", HyenaDNAConfig)
AutoModel.register(HyenaDNAConfig, HyenaDNAModel)
AutoModelForCausalLM.register(HyenaDNAConfig, HyenaDNAForCausalLM)
AutoTokenizer.register(HyenaDNAConfig, tokenizer_class=HyenaDNATokenizer)

__all__ = [
    "GeneLM",
    "HyenaDNAConfig",
    "HyenaDNAForCausalLM",
    "HyenaDNAModel",
    "HyenaDNAReader",
    "HyenaDNATokenizer",
    "base_tokens",
    "describe",
    "load_causal_lm",
    "load_lm",
    "quiet_transformers",
]
