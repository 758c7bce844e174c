"""Where an SAE reads a language model, as users say it."""

from pathlib import Path

from sae_tracks.errors import SaeTracksError


def place_facts(model: str | None, layer: int | None, hook: str | None) -> dict[str, str | int | None]:
    """What an SAE's metadata keep as ``lm`` of a model that is not loaded; its checksum stays unknown.

    Parameters
    ----------
    model : str, optional
        As `sae_tracks.lm.load_lm` takes it.
    layer : int, optional
        1-based; or `hook`, the path of a module.

    Returns
    -------
    dict
        The keys of `sae_tracks.lm.describe` without d_model, None where unknown; no ``model`` where none was named, and
        empty where nothing was said.
    """
    if layer is not None and hook is not None:
        raise SaeTracksError("--layer and --hook both say where to read: give one of them")
    if model is None and layer is None and hook is None:
        return {}
    if layer is None and hook is None:
        raise SaeTracksError("--model does not say where the SAE reads it: add --layer N or --hook MODULE")
    unknown = {"revision": None, "weights_sha256": None, "architecture": None}
    return unknown | (_named(model) if model else {}) | {"layer": layer, "hook_name": hook}


def _named(model: str) -> dict[str, str | int | None]:
    """A model as `load_lm` would call it: the absolute path of a folder, a hub id and its revision apart."""
    if model != "demo" and Path(model).exists():
        return {"model": str(Path(model).absolute()), "revision": None}
    name, _, revision = (model, "", "") if ":" in model else model.partition("@")
    return {"model": name, "revision": revision or None}
