"""HyenaDNA as a native transformers model.

Nguyen et al. 2023, arXiv 2306.15794. Parameter names are those of the hub's ``-hf`` repositories, so their
safetensors load as they are and no remote code is run.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from sae_tracks.lm.blocks import HyenaBackbone
from sae_tracks.lm.configuration import HyenaDNAConfig


class HyenaDNAPreTrainedModel(PreTrainedModel):
    """What the two models share: initialisation, and which names of a checkpoint are derived or repeated."""

    config_class = HyenaDNAConfig
    base_model_prefix = "hyena"
    _no_split_modules = ("HyenaBlock",)
    _keys_to_ignore_on_load_missing = (r"pos_emb\.[zt]$", r"modulation\.deltas$")
    _keys_to_ignore_on_load_unexpected = (r"implicit_filter\.\d+\.freq$",)

    def _finish(self) -> None:
        self._keys_to_ignore_on_save = [name for name, _ in self.named_buffers()]  # all follow from the configuration
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            module.weight.normal_(std=self.config.initializer_range)
        elif isinstance(module, nn.Linear | nn.LayerNorm | nn.Conv1d):
            module.reset_parameters()
        elif hasattr(module, "init_weights") and not isinstance(module, PreTrainedModel):
            module.init_weights(self.config)


class HyenaDNAModel(HyenaDNAPreTrainedModel):
    """The residual stream of HyenaDNA.

    With ``output_hidden_states`` it gives the embeddings, the stream after each block, and the final norm, as the
    reference does: ``n_layer + 2`` tensors (b, L, d_model).
    """

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__(config)
        self.backbone = HyenaBackbone(config)
        self._finish()

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **ignored,
    ) -> BaseModelOutput | tuple:
        """Run all blocks over (b, L) token ids or (b, L, d_model) embeddings, L <= ``max_seq_len``."""
        embeds = self.backbone.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if embeds.shape[1] > self.config.max_seq_len:
            raise ValueError(f"{embeds.shape[1]} tokens; this model reads at most {self.config.max_seq_len}")
        states = [] if output_hidden_states else None
        x = embeds
        for x in self.backbone.residuals(self.backbone.dropout(embeds)):
            if states is not None:
                states.append(x)
        x = self.backbone.ln_f(x)
        output = BaseModelOutput(last_hidden_state=x, hidden_states=None if states is None else (*states, x))
        return output if return_dict is not False else output.to_tuple()


class HyenaDNAForCausalLM(HyenaDNAPreTrainedModel):
    """HyenaDNA with its next-base head (untied, no bias)."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__(config)
        self.hyena = HyenaDNAModel(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_rows, bias=False)
        self._finish()

    def get_input_embeddings(self) -> nn.Module:
        return self.hyena.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **ignored,
    ) -> CausalLMOutput | tuple:
        """Logits (b, L, 16); with `labels` (b, L) also the mean next-token cross entropy in nats, -100 left out."""
        out = self.hyena(input_ids, inputs_embeds=inputs_embeds, output_hidden_states=output_hidden_states)
        logits = self.lm_head(out.last_hidden_state)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=out.hidden_states)
        return output if return_dict is not False else output.to_tuple()
