"""HyenaDNA as a native transformers model.

Nguyen et al. 2023, arXiv 2306.15794. Parameter names are those of the hub's ``-hf`` repositories, so that their
safetensors load unchanged and no remote code is run.

Modules with parameters or buffers of their own set them in ``init_weights``, even those that follow from the
configuration: transformers builds a model without memory first, and fills in what the checkpoint does not hold later.
"""

import math
from collections.abc import Iterator
from typing import cast

import torch
from scipy.fft import next_fast_len
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

Spectra = list[torch.Tensor]


class HyenaDNAConfig(PreTrainedConfig):
    """Sizes of a HyenaDNA model; the defaults are those of small-32k.

    ``max_seq_len`` is the longest sequence in tokens; the positions of the filters are spread over it. The implicit
    filter has ``emb_dim`` (width of the positional embedding), ``filter_order`` (hidden width), ``num_inner_mlps``
    (hidden layers) and ``activation_freq`` (first frequency of the sine). ``short_filter_order`` is the length of the
    explicit depthwise filter. The 12 tokens of the vocabulary are padded to 16 rows.
    """

    model_type = "hyenadna"
    attribute_map = {"hidden_size": "d_model", "num_hidden_layers": "n_layer"}  # noqa: RUF012 (other tools' names)

    def __init__(
        self,
        vocab_size: int = 12,
        d_model: int = 256,
        d_inner: int | None = None,
        n_layer: int = 4,
        max_seq_len: int = 32770,
        emb_dim: int = 5,
        filter_order: int = 64,
        num_inner_mlps: int = 2,
        hyena_order: int = 2,
        short_filter_order: int = 3,
        activation_freq: int = 10,
        train_freq: bool = True,
        use_bias: bool = True,
        embed_dropout: float = 0.1,
        hyena_dropout: float = 0.0,
        hyena_filter_dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-5,
        initializer_range: float = 0.02,
        pad_vocab_size_multiple: int = 8,
        pad_token_id: int = 4,
        tie_word_embeddings: bool = False,
        **kwargs,
    ) -> None:
        self.vocab_size = vocab_size
        self.d_model = d_model
        self.d_inner = 4 * d_model if d_inner is None else d_inner
        self.n_layer = n_layer
        self.max_seq_len = max_seq_len
        self.emb_dim = emb_dim
        self.filter_order = filter_order
        self.num_inner_mlps = num_inner_mlps
        self.hyena_order = hyena_order
        self.short_filter_order = short_filter_order
        self.activation_freq = activation_freq
        self.train_freq = train_freq
        self.use_bias = use_bias
        self.embed_dropout = embed_dropout
        self.hyena_dropout = hyena_dropout
        self.hyena_filter_dropout = hyena_filter_dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range
        self.pad_vocab_size_multiple = pad_vocab_size_multiple
        self.tie_word_embeddings = tie_word_embeddings
        self.pad_token_id = pad_token_id
        super().__init__(**kwargs)

    @property
    def vocab_rows(self) -> int:
        """Rows of the embedding: the vocabulary, padded."""
        return -(-self.vocab_size // self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple


class Sine(nn.Module):
    """``sin(freq * x)`` with one frequency per channel. All layers of a filter share one instance."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        freq = config.activation_freq * torch.ones(1, config.filter_order)
        self.freq = nn.Parameter(freq, requires_grad=config.train_freq)

    def init_weights(self, config: HyenaDNAConfig) -> None:
        self.freq.fill_(config.activation_freq)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.freq * x)


class PositionalEmbedding(nn.Module):
    """``t`` in 0..1 and ``z = [t, cos, -sin]`` of low frequencies, one row per position."""

    z: torch.Tensor
    t: torch.Tensor

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.config = config
        z, t = self.table()
        self.register_buffer("z", z)
        self.register_buffer("t", t)

    def table(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, L, emb_dim) and (1, L, 1) float32, which follow from the configuration alone."""
        length, bands = self.config.max_seq_len, (self.config.emb_dim - 1) // 2
        t = torch.linspace(0, 1, length)[None, :, None]
        angle = 2 * math.pi * torch.linspace(0, length - 1, length)[None, :, None] / length
        frequency = torch.linspace(1e-4, bands - 1, bands)[None, None]
        return torch.cat([t, torch.cos(-frequency * angle), torch.sin(-frequency * angle)], dim=-1), t

    def init_weights(self, config: HyenaDNAConfig) -> None:
        for buffer, value in zip((self.z, self.t), self.table()):
            buffer.copy_(value)


class Modulation(nn.Module):
    """Exponential decay of the filter, one rate per channel, above a floor."""

    FLOOR = 0.05
    deltas: torch.Tensor

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.d_model = config.d_model
        self.register_buffer("deltas", self.rates())

    def rates(self) -> torch.Tensor:
        """(1, 1, d_model) float32: decay to 1 % at 1.5 to 0.3 of the longest sequence."""
        return torch.linspace(math.log(0.01) / 1.5, math.log(0.01) / 0.3, self.d_model)[None, None]

    def init_weights(self, config: HyenaDNAConfig) -> None:
        self.deltas.copy_(self.rates())

    def forward(self, t: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return h * (torch.exp(-t * self.deltas.abs()) + self.FLOOR)


class ImplicitFilter(nn.Module):
    """The long filter: a small, modulated MLP of the position, and the skip weight `bias` of the convolution."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(config.d_model))
        width, hidden = config.filter_order, config.num_inner_mlps + 1
        linears: dict[str, nn.Module] = {"0": nn.Linear(config.emb_dim, width), "1": Sine(config)}
        linears |= {str(2 * i): nn.Linear(width, width) for i in range(1, hidden)}
        linears[str(2 * hidden)] = nn.Linear(width, config.d_model, bias=False)
        self.implicit_filter = nn.ModuleDict(linears)  # numbered as in a Sequential that repeats the one sine
        self.hidden = hidden
        self.pos_emb = PositionalEmbedding(config)
        self.modulation = Modulation(config)

    def init_weights(self, config: HyenaDNAConfig) -> None:
        self.bias.normal_()

    def forward(self, length: int) -> torch.Tensor:
        """(d_model, length): the first taps of the longest filter."""
        h = self.pos_emb.z[:, :length]
        for i in range(self.hidden):
            h = self.implicit_filter["1"](self.implicit_filter[str(2 * i)](h))
        h = self.implicit_filter[str(2 * self.hidden)](h)
        return self.modulation(self.pos_emb.t[:, :length], h)[0].T

    def spectrum(self, length: int) -> torch.Tensor:
        """(d_model, n_fft // 2 + 1) complex: transform of filter and skip, long enough for a linear convolution."""
        n = fft_length(length)
        return (torch.fft.rfft(self(length), n=n) + self.bias[:, None]) / n


def fft_length(length: int) -> int:
    """A length with small factors that holds a linear convolution of two signals of `length`."""
    return cast(int, next_fast_len(2 * length, real=True))


class HyenaMixer(nn.Module):
    """The order-2 Hyena operator: project, short filter, gate, long convolution, gate, project."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        d = config.d_model
        self.in_proj = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)
        order = config.short_filter_order
        self.short_filter = nn.Conv1d(3 * d, 3 * d, order, groups=3 * d, padding=order - 1)
        self.filter_fn = ImplicitFilter(config)

    def forward(self, x: torch.Tensor, spectrum: torch.Tensor | None = None) -> torch.Tensor:
        """(b, L, d) -> (b, L, d); `spectrum` is the filter's transform at this length, if the caller has it."""
        gate, fed = self.split(self.in_proj(x).transpose(1, 2))
        return self.out_proj((self.convolve(fed, spectrum) * gate).transpose(1, 2))

    def split(self, projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Projections (b, 3 d, L), after their short filter, as the gate and what the long filter takes, (b, d, L)."""
        gate, inner, v = self.short_filter(projected)[..., : projected.shape[2]].chunk(3, dim=1)
        return gate, v * inner

    def convolve(self, fed: torch.Tensor, spectrum: torch.Tensor | None = None) -> torch.Tensor:
        """The long filter, (b, d, L) -> (b, d, L)."""
        length = fed.shape[2]
        n, spectrum = fft_length(length), self.filter_fn.spectrum(length) if spectrum is None else spectrum
        return torch.fft.irfft(torch.fft.rfft(fed, n=n) * spectrum, n=n, norm="forward")[..., :length]


class MLP(nn.Module):
    """Two linear layers around a tanh-approximated GELU."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.fc2 = nn.Linear(config.d_inner, config.d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class HyenaBlock(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mixer = HyenaMixer(config)
        self.norm2 = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor, spectrum: torch.Tensor | None = None) -> torch.Tensor:
        x = x + self.mixer(self.norm1(x), spectrum)
        return x + self.mlp(self.norm2(x))


class Embeddings(nn.Module):
    """Token embeddings; there are no positional ones."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_rows, config.d_model)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.word_embeddings(input_ids)


class HyenaBackbone(nn.Module):
    """Embeddings, blocks and the final norm."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.dropout = nn.Dropout(config.embed_dropout)
        self.layers = nn.ModuleList(HyenaBlock(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)

    @property
    def blocks(self) -> list[HyenaBlock]:
        """The members of `layers`."""
        return cast(list[HyenaBlock], list(self.layers))

    def residuals(self, x: torch.Tensor, spectra: Spectra | None = None) -> Iterator[torch.Tensor]:
        """Yield the residual stream after the embeddings (as given) and after each block, lazily."""
        yield x
        for i, layer in enumerate(self.layers):
            x = layer(x, spectra[i] if spectra else None)
            yield x

    def spectra(self, length: int, layers: int) -> Spectra:
        """The filters' transforms of the first blocks, for callers that read many sequences of one length."""
        return [block.mixer.filter_fn.spectrum(length) for block in self.blocks[:layers]]


class HyenaDNAPreTrainedModel(PreTrainedModel):
    """What the two models share: initialisation, and which names of a checkpoint are derived or repeated."""

    config_class = HyenaDNAConfig
    config: HyenaDNAConfig
    base_model_prefix = "hyena"
    _no_split_modules = ["HyenaBlock"]  # noqa: RUF012 (lists, as transformers declares them)
    _keys_to_ignore_on_load_missing = [r"pos_emb\.[zt]$", r"modulation\.deltas$"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"implicit_filter\.\d+\.freq$"]  # noqa: RUF012

    def _finish(self) -> None:
        self._keys_to_ignore_on_save = [name for name, _ in self.named_buffers()]  # all follow from the configuration
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            module.weight.normal_(std=self.config.initializer_range)
        elif isinstance(module, nn.Linear | nn.LayerNorm | nn.Conv1d):
            module.reset_parameters()
        elif isinstance(module, Sine | PositionalEmbedding | Modulation | ImplicitFilter):
            module.init_weights(self.config)


class HyenaDNAModel(HyenaDNAPreTrainedModel):
    """The residual stream of HyenaDNA.

    With ``output_hidden_states`` it returns the embeddings, the stream after each block, and the final norm, as the
    reference does: ``n_layer + 2`` tensors (b, L, d_model).
    """

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__(config)
        self.backbone = HyenaBackbone(config)
        self._finish()

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
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
        x, states = self.run_blocks(input_ids, inputs_embeds, keep=bool(output_hidden_states))
        output = BaseModelOutput(last_hidden_state=x, hidden_states=states)
        return output if return_dict is not False else output.to_tuple()

    def run_blocks(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None]:
        """(b, L, d_model) after the final norm; with `keep` also all hidden states, as `forward` gives them."""
        x: torch.Tensor = self.backbone.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if x.shape[1] > self.config.max_seq_len:
            raise ValueError(f"{x.shape[1]} tokens; this model reads at most {self.config.max_seq_len}")
        states = []
        for state in self.backbone.residuals(self.backbone.dropout(x)):
            x = state
            if keep:
                states.append(x)
        x = self.backbone.ln_f(x)
        return x, (*states, x) if keep else None


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
        """Logits (b, L, 16); with `labels` (b, L) also the mean next-token cross entropy in nats, except at -100."""
        x, states = self.hyena.run_blocks(input_ids, inputs_embeds, keep=bool(output_hidden_states))
        logits = self.lm_head(x)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=states)
        return output if return_dict is not False else output.to_tuple()
