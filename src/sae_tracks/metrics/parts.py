"""Adding up what the shards of one run counted."""

from collections.abc import Iterable
from pathlib import Path

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, read_json, values_differ
from sae_tracks.metrics.counts import Counts, load_counts
from sae_tracks.metrics.tables import COUNTS
from sae_tracks.regions import check_complete, parse_shard

OWN = ("shard", "command")  # facts that differ between the parts of one run


def merge_parts(folders: Iterable[Path]) -> tuple[Counts, dict]:
    """Add the counts that the shards of one run have written, one at a time.

    Parameters
    ----------
    folders : iterable of Path
        Each holds the ``counts.npz`` and ``provenance.json`` of ``metrics --shard i/n``; any order.

    Returns
    -------
    Counts, dict
        The numbers of the run in one part, and what its provenance says.

    Raises
    ------
    SaeTracksError
        A folder holds no part, parts are of different runs, or one is missing or there twice.
    """
    folders = list(folders)
    facts = [_facts(folder) for folder in folders]
    shards = [parse_shard(fact["shard"]) for fact in facts]
    for folder, fact in zip(folders, facts):
        if key := values_differ(facts[0], fact, ignore=OWN):
            raise SaeTracksError(f"{folder} is of another run than {folders[0]}: its {key} differs")
    check_complete(shards, "metrics")
    total = None
    for folder in folders:
        counts = load_counts(folder / COUNTS)
        if total is None:
            total = counts
        else:
            total.merge(counts)
    return total, {key: value for key, value in facts[0].items() if key not in (*OWN, "sae_tracks")}


def _facts(folder: Path) -> dict:
    facts = read_json(Path(folder) / PROVENANCE)
    if "shard" not in facts:
        raise SaeTracksError(f"{folder} is not of metrics --shard i/n: there is nothing to add")
    return facts
