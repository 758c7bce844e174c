"""SAELens: ``cfg.json`` and ``sae_weights.safetensors``, of an SAE or of a training checkpoint."""

from pathlib import Path
from typing import Any

import torch

from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import fit, read_json
from sae_tracks.sae.directory import CONFIG, CONFIGURED, WEIGHTS, whole_k
from sae_tracks.sae.interop.tensors import (
    Tensors,
    decoder_norms,
    jumprelu,
    open_safetensors,
    scale_features,
    scale_input,
    ungate,
    with_pre_bias,
    without_fraction,
)
from sae_tracks.sae.model import SAE

SCALER = "activation_scaler.json"  # of a training checkpoint
TOP_K = ("topk", "batchtopk", "matryoshka_batchtopk")
ARCHITECTURES = ("standard", "jumprelu", "gated", *TOP_K)
UNSET = "topk_threshold is still 0, so training has not set it; imported as the k largest of each row"
OURS = ("sae_lens_version", "sae_tracks_format")  # of the metadata: `save_sae` writes its own


def read_saelens(folder: Path) -> tuple[SAE, str]:
    """Read an SAE of SAELens 6 or before, with scalings folded into its weights.

    Returns
    -------
    SAE, str
        The SAE, and how it differs from the original; empty if it does not.
    """
    config = _current(read_json(folder / CONFIG, {"architecture?": str}), folder / CONFIG)
    architecture = config["architecture"]
    if architecture not in ARCHITECTURES:
        raise SaeTracksError(
            f"{folder}: architecture {architecture!r} cannot be imported; {', '.join(ARCHITECTURES)} can"
        )
    scale = _input_scale(folder, config["normalize_activations"])
    tensors = open_safetensors(folder / WEIGHTS)
    factor = tensors.left.get("scaling_factor")
    if factor is not None and torch.equal(factor, torch.ones_like(factor)):
        tensors.drop("scaling_factor")  # SAELens wrote ones for a time
    W_enc = tensors.take_matrix("W_enc")
    d_in, d_sae = W_enc.shape
    b_enc = torch.zeros(d_sae) if architecture == "gated" else tensors.take("b_enc", d_sae)
    sae = SAE(W_enc, b_enc, tensors.take("W_dec", d_sae, d_in), tensors.take("b_dec", d_in))
    sae = _activation(scale_input(sae, scale), tensors, config, scale)
    tensors.finish()
    if not config["apply_b_dec_to_input"]:
        sae = with_pre_bias(sae)
    sae.metadata = _metadata(config.get("metadata"))
    return sae, UNSET if architecture in TOP_K[1:] and sae.k is not None else ""


def _metadata(theirs: Any) -> dict[str, Any]:
    """What a file says of an SAE; what has another form than ours of that name is kept under ``saelens``."""
    kept, aside = dict[str, Any](), dict[str, Any]()
    for name, value in theirs.items() if isinstance(theirs, dict) else ():
        if name not in OURS:
            (kept if fit([{name: value}], CONFIGURED["metadata?"]) else aside)[name] = value
    return kept | ({"saelens": aside} if aside else {})


def _current(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Fill in SAELens' defaults and, for a configuration from before version 6, the new names."""
    normalize = config.get("normalize_activations")
    if not isinstance(normalize, str):  # before version 6: absent, null or a bool
        normalize = "expected_average_only_in" if normalize else "none"
    new = {"architecture": "standard", "apply_b_dec_to_input": True} | config | {"normalize_activations": normalize}
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation == "topk":
        arguments = config.get("activation_fn_kwargs")
        k = arguments.get("k") if isinstance(arguments, dict) else None
        new |= {"architecture": "topk", "k": config.get("k") if k is None else k}
    elif activation != "relu":
        raise SaeTracksError(f"{path}: activation {activation!r} cannot be imported; relu and topk can")
    return new


def _input_scale(folder: Path, normalize: str) -> float:
    """The factor by which the activations are multiplied before they are encoded."""
    if normalize == "none":
        return 1.0
    if normalize == "covariance_whitening":
        raise SaeTracksError(f"{folder} reads whitened activations: import the SAE that the training ended with")
    if normalize != "expected_average_only_in":
        raise SaeTracksError(f"{folder}: {normalize} treats each row by its own norm, which no weights can do")
    scale = read_json(folder / SCALER).get("scaling_factor") if (folder / SCALER).is_file() else None
    if not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise SaeTracksError(
            f"{folder} was trained on scaled activations and does not say the scale: put it beside as {SCALER}, "
            '{"scaling_factor": sqrt(d_in) / their mean norm}'
        )
    return float(scale)


def _activation(sae: SAE, tensors: Tensors, config: dict[str, Any], scale: float) -> SAE:
    """Set how features come from pre-activations; the input's scale is in the weights already, as SAELens has it."""
    architecture = config["architecture"]
    if architecture == "gated":
        return ungate(sae, *(tensors.take(name, sae.d_sae) for name in ("r_mag", "b_gate", "b_mag")))
    if architecture == "jumprelu" and "log_threshold" in tensors.names:
        return jumprelu(sae, tensors.take("log_threshold", sae.d_sae).exp())
    if architecture == "jumprelu":
        return jumprelu(sae, tensors.take("threshold", sae.d_sae))
    rescale = architecture in TOP_K and config.get("rescale_acts_by_decoder_norm", architecture != "topk")
    if rescale:
        sae = scale_features(sae, decoder_norms(sae))
    if architecture == "topk":
        sae.k = whole_k(tensors.path.with_name(CONFIG), config.get("k"), sae.d_sae)
    elif architecture in TOP_K:
        threshold = tensors.take_number("topk_threshold")
        if threshold > 0:
            return jumprelu(sae, threshold / scale if rescale else threshold)
        k = without_fraction(config.get("k"))  # SAELens writes it as a float
        sae.k = whole_k(tensors.path.with_name(CONFIG), k, sae.d_sae)
    return sae
