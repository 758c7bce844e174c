"""How much of some regions an SAE was trained on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sae_tracks.activations.shards import MANIFEST, WINDOWS
from sae_tracks.files import PROVENANCE, read_json, sha256
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion, merge_regions
from sae_tracks.sae import SAE


def trained_bases(sae: SAE, folder: Path, genome: Genome, regions: Iterable[GenomicRegion]) -> int | None:
    """Bases of regions that lie in the windows whose rows an SAE was trained on.

    Contigs are compared by their sequence, not by their names. The windows are read where the shards still are that
    ``provenance.json`` names.

    Parameters
    ----------
    sae : SAE
    folder : path
        Its directory.
    regions : iterable of GenomicRegion
        Disjoint.

    Returns
    -------
    int or None
        None where it is not known.
    """
    regions = list(regions)
    trained = {contig["M5"]: name for name, contig in sae.metadata.get("genome", {}).items()}
    if not trained:
        return None
    known_as = {contig: trained.get(genome.m5(contig)) for contig in dict.fromkeys(r.contig for r in regions)}
    if not any(known_as.values()):
        return 0
    bed = _windows_file(sae, folder)
    if bed is None:
        return None
    covered = _coverage(bed)
    return sum(_bases(covered.get(known_as[region.contig]), region) for region in regions)


def seen_text(trained: int | None) -> str:
    """What `trained_bases` found, for people."""
    if trained is None:
        return "whether the SAE was trained on these regions is not known"
    return (
        f"the SAE was trained on {trained:,} of these bases"
        if trained
        else "the SAE was trained on none of these bases"
    )


def _windows_file(sae: SAE, folder: Path) -> Path | None:
    """``windows.bed`` of the shards trained on, if both it and their manifest are unchanged."""
    provenance = folder / PROVENANCE
    data = Path(read_json(provenance).get("data", "")) if provenance.is_file() else folder
    manifest, bed = data / MANIFEST, data / WINDOWS
    if not (manifest.is_file() and bed.is_file()):
        return None
    same = sha256(manifest) == sae.metadata.get("training", {}).get("data_sha256")
    return bed if same and sha256(bed) == read_json(manifest).get("windows_sha256") else None


def _coverage(bed: Path) -> dict[str | None, np.ndarray]:
    """Of each contig (2, 2 k): borders of the k disjoint stretches that windows cover, bases covered before each."""
    rows = (line.split("\t")[:3] for line in bed.read_text().splitlines())
    windows = [GenomicRegion(contig, int(start), int(end)) for contig, start, end in rows]
    edges: dict[str | None, list[int]] = {}
    for region in merge_regions(windows, dict.fromkeys(window.contig for window in windows)):
        edges.setdefault(region.contig, []).extend((region.start, region.end))
    lengths = {contig: np.diff(borders) * (np.arange(len(borders) - 1) % 2 == 0) for contig, borders in edges.items()}
    return {contig: np.array([borders, np.append(0, lengths[contig].cumsum())]) for contig, borders in edges.items()}


def _bases(covered: np.ndarray | None, region: GenomicRegion) -> int:
    """Covered bases of a region: between borders they grow in a straight line or not at all."""
    if covered is None:
        return 0
    first, last = np.interp([region.start, region.end], *covered)
    return round(last - first)
