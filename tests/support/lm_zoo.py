"""Small gene language models of real architectures with random weights, and their tokenizers, as folders."""

import itertools
import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from toy import random_dna
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    EsmConfig,
    EsmForMaskedLM,
    EsmTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForSequenceClassification,
    PreTrainedTokenizerFast,
)

SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
NAMES = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


def save(model, tokenizer, folder: Path) -> Path:
    """Weights spread wide enough that every layer mixes visibly."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def six_mers(folder: Path, *, positions: int = 42, max_tokens: int = 40) -> Path:
    """Nucleotide Transformer's form: ESM with absolute positions, 6-mers and single letters, <cls> in front."""
    words = ["<unk>", "<pad>", "<mask>", "<cls>", *map("".join, itertools.product("ATCG", repeat=6)), *"ATCGN"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = EsmTokenizer(str(folder / "vocab.txt"), eos_token=None, model_max_length=max_tokens)
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=len(words), pad_token_id=1, mask_token_id=2, max_position_embeddings=positions,
        position_embedding_type="absolute", token_dropout=True, emb_layer_norm_before=False, **SIZES,
    )  # fmt: skip
    return save(EsmForMaskedLM(config), tokenizer, folder)


def byte_pairs(folder: Path, *, positions: int = 32) -> Path:
    """DNABERT-2's and GENA-LM's form: BERT with BPE tokens, [CLS] and [SEP] around, and no N."""
    inner = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True))
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL, initial_alphabet=list("ACGT"))
    inner.train_from_iterator([random_dna(4000, seed) for seed in range(3)], trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **NAMES)
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=positions, pad_token_id=1, **SIZES)
    return save(BertForMaskedLM(config), tokenizer, folder)


def mixtral(folder: Path) -> Path:
    """Mistral-DNA's form: Mixtral over BPE, one of four experts for each token, and the head of a classifier."""
    tokenizer = AutoTokenizer.from_pretrained(byte_pairs(folder.with_name("bpe")))
    torch.manual_seed(5)
    config = MixtralConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=1, pad_token_id=1,
        max_position_embeddings=64, **SIZES,
    )  # fmt: skip
    return save(MixtralForSequenceClassification(config), tokenizer, folder)


def letters(folder: Path, kind: str = "mamba", alphabet: str = "ACGTN", lower: bool = False) -> Path:
    """One token a base and nothing around, for a model that reads left to right."""
    words = [*SPECIAL, *(alphabet.lower() if lower else alphabet)]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    if lower:
        inner.normalizer = normalizers.Lowercase()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **NAMES)
    torch.manual_seed(2)
    if kind == "mamba":
        model = MambaForCausalLM(MambaConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=3, state_size=4))
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(words), max_position_embeddings=80, **SIZES))
    return save(model, tokenizer, folder)


KMERS = """
import itertools
from transformers import PreTrainedTokenizer
class KmerTokenizer(PreTrainedTokenizer):
    model_input_names = ["input_ids", "attention_mask"]
    def __init__(self, **kwargs):
        words = ["<oov>", "<s>", *map("".join, itertools.product("ACGT", repeat=6))]
        self.table = {word: i for i, word in enumerate(words)}
        super().__init__(**{**kwargs, "unk_token": "<oov>", "bos_token": "<s>"})
    @property
    def vocab_size(self):
        return len(self.table)
    def get_vocab(self):
        return dict(self.table)
    def _tokenize(self, text, **kwargs):
        return [text[i : i + 6] for i in range(0, len(text), 6)]
    def _convert_token_to_id(self, token):
        return self.table.get(token, 0)
    def _convert_id_to_token(self, index):
        return list(self.table)[index]
    def build_inputs_with_special_tokens(self, ids, more=None):
        return [1, *ids]
    def save_vocabulary(self, folder, filename_prefix=None):
        return ()
"""


def bare_six_mers(folder: Path) -> Path:
    """GENERator's form: Llama over 6-mers and nothing shorter, with a tokenizer of its own beside the weights."""
    torch.manual_seed(3)
    folder.mkdir(parents=True)
    config = LlamaConfig(vocab_size=4098, max_position_embeddings=80, **SIZES)
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "kmers.py").write_text(KMERS)
    own = {"tokenizer_class": "KmerTokenizer", "auto_map": {"AutoTokenizer": ["kmers.KmerTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    return folder


def edit_config(folder: Path, name: str = "config.json", **changes) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
