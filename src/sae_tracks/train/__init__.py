"""The training of a sparse autoencoder."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_tracks.train.plan import TrainPlan, plan_training
    from sae_tracks.train.settings import RECIPES, TrainSettings
    from sae_tracks.train.train import train_sae

_HOME = {  # loaded when first asked for: a step alone, or a language model's training, needs little of it
    "RECIPES": "settings",
    "TrainPlan": "plan",
    "TrainSettings": "settings",
    "plan_training": "plan",
    "train_sae": "train",
}
__all__ = ["RECIPES", "TrainPlan", "TrainSettings", "plan_training", "train_sae"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
