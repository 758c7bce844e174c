"""Gene language models. Each name is loaded when it is first used, because transformers takes seconds to import."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sae_tracks.lm.hyenadna import HyenaDNAConfig as HyenaDNAConfig
    from sae_tracks.lm.hyenadna import HyenaDNAForCausalLM as HyenaDNAForCausalLM
    from sae_tracks.lm.hyenadna import HyenaDNAModel as HyenaDNAModel
    from sae_tracks.lm.inference import HyenaDNAReader as HyenaDNAReader
    from sae_tracks.lm.load import load_causal_lm as load_causal_lm
    from sae_tracks.lm.load import load_lm as load_lm
    from sae_tracks.lm.pretrained import quiet_transformers as quiet_transformers
    from sae_tracks.lm.protocol import GeneLM as GeneLM
    from sae_tracks.lm.protocol import describe as describe
    from sae_tracks.lm.tokens import HyenaDNATokenizer as HyenaDNATokenizer
    from sae_tracks.lm.tokens import base_tokens as base_tokens

_HOME = {
    **dict.fromkeys(("HyenaDNAConfig", "HyenaDNAForCausalLM", "HyenaDNAModel", "HyenaDNATokenizer"), "registered"),
    "HyenaDNAReader": "inference",
    "load_causal_lm": "load",
    "load_lm": "load",
    "quiet_transformers": "pretrained",
    "GeneLM": "protocol",
    "describe": "protocol",
    "base_tokens": "tokens",
}


def __dir__() -> list[str]:
    return [*_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'sae_tracks.lm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sae_tracks.lm.{_HOME[name]}"), name)
