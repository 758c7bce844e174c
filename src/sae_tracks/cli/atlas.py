"""``sae-tracks atlas``: all features as points in a plane."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from sae_tracks.cli.inputs import open_source, parse_features
from sae_tracks.cli.options import (
    GenomePath,
    ReadingOptions,
    SaePath,
    ScaleOption,
    SomeFeaturesOption,
    ThresholdOption,
    out_folder,
)
from sae_tracks.cli.verb import verb

EXAMPLE = """On the page: sae-tracks view scores/    (View: map by decoder, map by activity)

Example: sae-tracks atlas sae/ hg38.fa -r chr14:1-2,000,000 -o scores/"""
log = logging.getLogger(__name__)


@verb(EXAMPLE, panel="Explain features")
def atlas(
    sae: SaePath,
    genome: GenomePath,
    out: Annotated[Path, out_folder("Folder of atlas.tsv; beside the scores, the page shows it.")],
    features: SomeFeaturesOption = None,
    layout: Annotated[
        Literal["pca", "umap"],
        Option(help="Plane of the two largest principal components, or UMAP (pip install 'sae-tracks\\[umap]')."),
    ] = "pca",
    threshold: ThresholdOption = 0.15,
    scale: ScaleOption = "max",
    seed: Annotated[int, Option(min=0, help="Of UMAP.")] = 0,
    *,
    reading: ReadingOptions,
) -> None:
    """Place features near those like them: by decoder, and by the bases at which they are active."""
    from sae_tracks.files import make_folder
    from sae_tracks.insight.atlas import atlas
    from sae_tracks.names import ATLAS

    source = open_source(sae, genome, reading)
    ids = parse_features(features) if features else None
    make_folder(out)
    made = atlas(source, ids, layout=layout, threshold=threshold, scale=scale, seed=seed)
    made.write(out)
    for plane in made.planes:
        said = plane.name, len(plane.features), 100 * plane.kept, 100 * plane.chance
        log.info(
            "map by %s: %d features; %.1f %% of the ten most alike are among the ten nearest (chance %.1f %%)", *said
        )
    log.info("%s in %s", ATLAS, out)
