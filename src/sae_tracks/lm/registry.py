"""Gene language models of other packages, found by the entry point group ``sae_tracks.models``."""

from importlib.metadata import entry_points

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.pretrained import first_line
from sae_tracks.lm.protocol import GeneLM

GROUP = "sae_tracks.models"
MEMBERS = (*GeneLM.__annotations__, "activations", "token_starts")


def load_plugin(model: str, layer: int | None, *, hook: str | None, revision: str | None, device: str) -> GeneLM:
    """The model ``NAME:ARG`` of an installed package.

    Parameters
    ----------
    model : str
        The package's entry point NAME is called as ``load(ARG, layer, hook=..., revision=..., device=...)``.
    layer, hook, revision, device
        As `sae_tracks.lm.load_lm` got them.

    Raises
    ------
    SaeTracksError
        No package registers the name, it cannot be imported or fails, or what it gives is not a `GeneLM`.
    """
    name, _, argument = model.partition(":")
    registered = {point.name: point for point in entry_points(group=GROUP)}
    if name not in registered:
        there = ", ".join(sorted(registered)) or "none"
        raise SaeTracksError(f"no model plug-in {name!r} for {model}; installed ({GROUP}): {there}")
    try:
        lm = registered[name].load()(argument, layer, hook=hook, revision=revision, device=device)
    except SaeTracksError:
        raise
    except Exception as error:  # code that is not ours
        why = first_line(error)
        raise SaeTracksError(f"the model plug-in {name!r} ({registered[name].value}) does not load: {why}") from error
    if missing := [member for member in MEMBERS if not hasattr(lm, member)]:
        raise SaeTracksError(f"the model plug-in {name!r} gives no GeneLM: it lacks {', '.join(missing)}")
    if lm.model_id != model:
        raise SaeTracksError(
            f"the model plug-in {name!r} calls its model {lm.model_id!r}; the model_id must be {model!r}, "
            "by which an SAE finds it again"
        )
    return lm
