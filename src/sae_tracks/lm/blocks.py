"""The parts of HyenaDNA, named as in the hub's ``-hf`` repositories.

Parts with parameters or buffers of their own set them in ``init_weights``, also where they follow from the
configuration: transformers builds models without memory and fills in afterwards what no checkpoint held.
"""

import math

import torch
from scipy.fft import next_fast_len
from torch import nn
from torch.nn import functional as F

from sae_tracks.lm.configuration import HyenaDNAConfig

Spectra = list[torch.Tensor]


class Sine(nn.Module):
    """``sin(freq * x)`` with a frequency a channel; one instance serves all layers of a filter."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        freq = config.activation_freq * torch.ones(1, config.filter_order)
        self.freq = nn.Parameter(freq, requires_grad=config.train_freq)

    def init_weights(self, config: HyenaDNAConfig) -> None:
        self.freq.fill_(config.activation_freq)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.freq * x)


class PositionalEmbedding(nn.Module):
    """``t`` in 0..1 and ``z = [t, cos, -sin]`` of low frequencies, one row a position."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        self.config = config
        z, t = self.table()
        self.register_buffer("z", z)
        self.register_buffer("t", t)

    def table(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, L, emb_dim) and (1, L, 1) float32, derived from the configuration alone."""
        length, bands = self.config.max_seq_len, (self.config.emb_dim - 1) // 2
        t = torch.linspace(0, 1, length)[None, :, None]
        angle = 2 * math.pi * torch.linspace(0, length - 1, length)[None, :, None] / length
        frequency = torch.linspace(1e-4, bands - 1, bands)[None, None]
        return torch.cat([t, torch.cos(-frequency * angle), torch.sin(-frequency * angle)], dim=-1), t

    def init_weights(self, config: HyenaDNAConfig) -> None:
        for buffer, value in zip((self.z, self.t), self.table()):
            buffer.copy_(value)


class Modulation(nn.Module):
    """Exponential decay of the filter, a rate a channel, over a floor that it never falls below."""

    FLOOR = 0.05

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
    """The long filter: a small MLP of the position, modulated; plus the skip weight `bias` of the convolution."""

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
        """(d_model, length): a prefix of the longest filter."""
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
    """A length of small factors that holds a linear convolution of two signals of `length`."""
    return next_fast_len(2 * length, real=True)


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
        """(b, L, d) -> (b, L, d); `spectrum` is that of the filter at this length where it is at hand."""
        length = x.shape[1]
        spectrum = self.filter_fn.spectrum(length) if spectrum is None else spectrum
        u = self.short_filter(self.in_proj(x).transpose(1, 2))[..., :length]
        gate, inner, v = u.chunk(3, dim=1)
        v = v * inner
        n = fft_length(length)
        y = torch.fft.irfft(torch.fft.rfft(v, n=n) * spectrum, n=n, norm="forward")[..., :length]
        return self.out_proj((y * gate).transpose(1, 2))


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
    """Token embeddings; there is no positional one."""

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

    def residuals(self, x: torch.Tensor, spectra: Spectra | None = None):
        """Yield the residual stream after the embeddings (given) and after each block, lazily."""
        yield x
        for i, layer in enumerate(self.layers):
            x = layer(x, spectra[i] if spectra else None)
            yield x

    def spectra(self, length: int, layers: int) -> Spectra:
        """The filters' transforms of the first blocks, to be kept where many sequences of one length are read."""
        return [layer.mixer.filter_fn.spectrum(length) for layer in self.layers[:layers]]
