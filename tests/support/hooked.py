"""A small HyenaDNA, and its forward with a hook that changes the output of a block: what a splice must compute."""

import torch
from toy import OneHotLM

from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM
from sae_tracks.sae import SAE

D, LAYERS, WINDOW = 8, 3, 64
IDS = {letter: 7 + i for i, letter in enumerate("ACGT")} | {"N": 11}


def small_hyenadna(seed=1):
    """Random weights, spread so wide that blocks, bases and positions all count."""
    torch.manual_seed(seed)
    model = HyenaDNAForCausalLM(HyenaDNAConfig(d_model=D, n_layer=LAYERS, max_seq_len=WINDOW + 2, d_inner=12)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "filter" not in name:
                parameter.mul_(10)
    return model


def predictions(model, layer, sequence, change=lambda x: x):
    """(n, 4) float64 log probabilities of A, C, G, T after the output (n, D) of a block was changed."""
    handle = model.hyena.backbone.layers[layer - 1].register_forward_hook(lambda *it: change(it[2][0])[None])
    with torch.no_grad():
        logits = model(torch.tensor([[IDS.get(chr(letter), 6) for letter in sequence]])).logits[0]
    handle.remove()
    return logits[:, 7:11].double().log_softmax(1)


def drawn_sae(seed=0, features=24, *, scale=0.2, **how):
    """Random weights; b_enc so low that most features are silent at most bases."""
    g = torch.Generator().manual_seed(seed)
    shapes = (D, features), (features,), (features, D), (D,)
    sae = SAE(*(torch.randn(*shape, generator=g) for shape in shapes), **how)
    sae.W_enc *= scale
    return sae


class HeadLM(OneHotLM):
    """Two classes; the head looks at channel 1, whether the base is C."""

    output_names = ("other", "site")
    head = torch.tensor([[0.0, 0], [0, 3], [0, 0], [0, 0], [0, 0], [0, 0]])

    def outputs(self, sequence, activations=None):
        x = self.activations(sequence) if activations is None else activations
        return (x @ self.head).log_softmax(1)
