"""HyenaDNA for transformers: importing this registers its classes, so that the Auto classes open its folders."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from sae_tracks.lm.hyenadna import HyenaDNAConfig, HyenaDNAForCausalLM, HyenaDNAModel
from sae_tracks.lm.tokens import HyenaDNATokenizer

AutoConfig.register("hyenadna", HyenaDNAConfig)
AutoModel.register(HyenaDNAConfig, HyenaDNAModel)
AutoModelForCausalLM.register(HyenaDNAConfig, HyenaDNAForCausalLM)
AutoTokenizer.register(HyenaDNAConfig, tokenizer_class=HyenaDNATokenizer)
