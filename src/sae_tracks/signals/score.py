"""Score features against signals: one pass over the genome, tables in a folder."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.signal import Signal
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock, run
from sae_tracks.files import atomic, digest, sha256, whole_path, write_provenance, write_tsv
from sae_tracks.json_file import SIZE, Row
from sae_tracks.metrics import BEST_SCORES, Halves, annotation_checksums, halves_on, refuse_beside, shard_facts
from sae_tracks.names import SIGNAL_PROFILES, SIGNALS, counted, feature_number
from sae_tracks.reading import Reading
from sae_tracks.records import HALVES, READ_BASES, read_shard, record_parts, write_shard
from sae_tracks.regions import GenomicRegion, ReadStrand, parse_shard
from sae_tracks.signals.bins import Bins, BinSums
from sae_tracks.signals.judge import best_table, ranked
from sae_tracks.signals.profiles import REACH, profile
from sae_tracks.signals.sink import ACTIVE, SignalSink
from sae_tracks.signals.sums import Sums, strongest
from sae_tracks.signals.survey import survey
from sae_tracks.signals.tables import Pass, SignalRun, Totals, pair_table, with_q
from sae_tracks.source import ReadBases, Source

PAIRS, STORED = "signals.parquet", "signals.npz"
BIN_SIZE = 100
PROFILED = 5  # features per signal and read strand
FORMAT_VERSION = 3
STORED_RECORD = {
    **{
        "format_version": FORMAT_VERSION,
        "read": READ_BASES,
        "halves": HALVES,
        "signals": [Row(str, str)],
        "alias": (str, None),
    },
    "bin_size": SIZE,
}
log = logging.getLogger(__name__)


def score_signals(
    source: Source,
    signals: Sequence[str | Path],
    out: str | Path,
    *,
    features: Iterable[int] | None = None,
    bin_size: int = BIN_SIZE,
    alias: str | Path | None = None,
    split: bool = True,
    select: Iterable[GenomicRegion | str] = (),
    report: Iterable[GenomicRegion | str] = (),
    shard: str | None = None,
) -> pd.DataFrame:
    """Score the features of an SAE against signals, as ``sae-tracks metrics`` does for bigWig and bedGraph.

    A first pass over the signals alone finds their ranks. One pass over the genome then adds up what correlations per
    base and per bin, means at active bases, and regressions follow from. The best feature of each signal is chosen on
    the select half and reported on the report half, with a verdict. docs/methods.md has the definitions.

    Parameters
    ----------
    source : Source
        Language model, SAE, genome, regions and read strands.
    signals : sequence of path
        bigWig or bedGraph files.
    out : path
        A folder, made if it is missing, for ``signals.parquet``, ``signals.tsv``, ``signal_profiles.parquet`` and
        ``provenance.json``; see docs/formats.md.
    features : iterable of int, optional
        Feature ids; default all.
    bin_size : int
        Bases of a bin.
    alias : str or path, optional
        Other names of contigs in the signals; see `Contigs`.
    split, select, report
        The halves; see `evaluate_on`.
    shard : str, optional
        Add up shard i of n only, as ``i/n``, and write ``signals.npz``; `merge_signals` joins the shards.

    Returns
    -------
    DataFrame
        The rows of ``signals.tsv``, one per signal; no rows if a shard was added up.

    Raises
    ------
    SaeTracksError
        A file is missing, malformed, of another assembly, or has no value in the regions.
    """
    refuse_beside(Path(out) / BEST_SCORES)
    halves = halves_on(source.genome, source.regions or [], split=split, select=select, report=report)
    task = SignalTask(source, signals, halves, out, features=features, bin_size=bin_size, alias=alias, shard=shard)
    return task.run()


class SignalTask:
    """A scoring against signals whose inputs are open and checked, as a sink of the stream.

    `run` does everything. In a pass that others make, `survey` comes before the first block and `finish` after the
    last. See `score_signals` for the parameters.
    """

    def __init__(
        self,
        source: Source,
        signals: Sequence[str | Path],
        halves: Halves,
        out: str | Path,
        *,
        features: Iterable[int] | None = None,
        bin_size: int = BIN_SIZE,
        alias: str | Path | None = None,
        shard: str | None = None,
    ) -> None:
        parse_shard(shard)
        if bin_size < 1:
            raise SaeTracksError(f"--bin-size {bin_size}: a bin has at least one base")
        self.features = None if features is None else source.sae.check_features(features).tolist()
        self._source, self._out, self._halves, self._shard = source, Path(out), halves, shard
        self._paths, self._alias = [str(path) for path in signals], alias
        self._signals = open_signals(self._paths, source, alias)
        self._bins = Bins.of(source.regions or [], halves, bin_size)
        self._sinks: dict[ReadStrand, SignalSink] = {}
        source.sae.maxima()  # an SAE without them cannot be scored
        self.facts: dict[str, Any] = {
            "files": [{"name": s.name, "sha256": annotation_checksums([s.path])[str(s.path)]} for s in self._signals],
            "alias": None if alias is None else Path(alias).name,
            "bin_size": bin_size,
            "active": ACTIVE,
            "halves_sha256": digest([str(halves)]),
            "features_sha256": self.features and digest(map(str, self.features)),
        }

    @property
    def size(self) -> str:
        """The number of signals and bins, and the memory of their sums, in words."""
        strands, halves = len(self._source.read_strands), len(self._halves.names)
        d_sae, blocks = self._source.sae.d_sae, 200
        one = Sums.zeros(halves, 1, len(self._signals), blocks).nbytes * d_sae
        gigabytes = strands * (one + 8 * len(self._bins) * self._source.lm.d_model) / 1e9
        return f"{counted(len(self._signals), 'signal')}, {counted(len(self._bins), 'bin')}; {gigabytes:.2f} GB of sums"

    def run(self) -> pd.DataFrame:
        """Read the signals, then the genome, and write the tables or a shard; see `score_signals`."""
        self.survey()
        shard = parse_shard(self._shard)
        run(self._source.blocks(self.features, shard=shard, on_reading=self.add_reading), self)
        return self.finish()

    def survey(self) -> None:
        """Read the signals once, for their ranks.

        Raises
        ------
        SaeTracksError
            A signal has no value on a readable base of the halves.
        """
        source, halves = self._source, self._halves
        for strand in source.read_strands:
            surveys = survey(source, self._signals, halves, strand)
            for g, signal in enumerate(self._signals):
                if not sum(half[g].bases for half in surveys):
                    raise SaeTracksError(f"{signal.path} has no value in the regions: leave it out, or give others")
                if signal.infinite and strand == source.read_strands[0]:
                    infinite = counted(signal.infinite, "infinite value counts", "infinite values count")
                    log.warning("%s: %s as missing", signal.path.name, infinite)
            self._sinks[strand] = SignalSink(source, self._signals, halves, self._bins, surveys)

    def add_reading(self, reading: Reading) -> None:
        """Add the activations of the model; called before the blocks of the reading."""
        self._sinks[reading.read_strand].add_reading(reading)

    def add(self, block: FeatureBlock) -> None:
        """Add a block."""
        self._sinks[block.read_strand].add(block)

    def finish(self, *, alone: bool = True) -> pd.DataFrame:
        """Write the tables, or what a shard added up; `score_signals` says what is returned.

        If intervals were scored in the same pass, this task is not `alone`, and their provenance has its facts.
        """
        source = self._source
        ids = np.arange(source.sae.d_sae) if self.features is None else np.unique(self.features)
        passes: dict[ReadStrand, Pass] = {strand: sink.result() for strand, sink in self._sinks.items()}
        gathered = SignalRun(ReadBases.of(source), self._signals, self._halves, self._bins, ids, passes)
        if alone:
            shard: dict[str, Any] = {"shard": self._shard} if self._shard else {}
            write_provenance(self._out, **source.provenance(), signals=self.facts, **shard)
        if not self._shard:
            return write_signals(gathered, self._out)
        record = {
            "format_version": FORMAT_VERSION,
            "read": gathered.read.record(),
            "signals": [(whole_path(path), one["sha256"]) for path, one in zip(self._paths, self.facts["files"])],
            "alias": self._alias and whole_path(self._alias),
            "halves": self._halves.record(),
            "bin_size": self._bins.size,
        }
        arrays: dict[str, NDArray] = {"features": ids}
        for strand, one in passes.items():
            arrays |= {f"{strand}{name}": array for name, array in _arrays(one).items()}
        write_shard(self._out / STORED, record, arrays)
        record_parts(self._out, STORED)
        log.info("signals of shard %s in %s; sae-tracks merge-metrics joins all shards", self._shard, self._out)
        return pd.DataFrame()


def open_signals(paths: Sequence[str], source: Source | ReadBases, alias: str | Path | None) -> list[Signal]:
    """Open signals; two of one name are an error."""
    found = [Signal(path, source.genome, alias=alias) for path in paths]
    names = [signal.name for signal in found]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise SaeTracksError(f"two signals are called {twice[0]!r}: rename one of the files")
    return found


def merge_signals(shards: Iterable[str | Path], out: str | Path) -> pd.DataFrame:
    """Join what the shards of one run added up, and write the tables of the run as if it were whole.

    No model is read. The genome and the signals must be where they were.

    Parameters
    ----------
    shards : iterable of path
        The folders that `score_signals` wrote with ``shard="1/n"`` to ``"n/n"``, in any order.
    out : path
        A folder, as for `score_signals`.

    Returns
    -------
    DataFrame
        The rows of ``signals.tsv``.

    Raises
    ------
    SaeTracksError
        A folder holds no shard, shards are of different runs, or one is missing or there twice. A file is gone or has
        changed.
    """
    named = list(map(Path, shards))
    folders, facts = shard_facts(named, STORED)
    if "thresholds" not in facts:  # of intervals, which were scored in the same runs
        refuse_beside(Path(out) / BEST_SCORES)
    record, _ = read_shard(named[0] / STORED, STORED_RECORD, record_alone=True)  # it spells paths as `facts` do
    read, halves = ReadBases.again(record["read"]), Halves.again(record["halves"])
    for path, checksum in record["signals"]:
        if not Path(path).is_file() or sha256(Path(path)) != checksum:
            raise SaeTracksError(f"{path} is gone or has changed since its shards were read: run the shards again")
    signals = open_signals([path for path, _ in record["signals"]], read, record["alias"])
    bins = Bins.of(read.regions, halves, record["bin_size"])
    features, passes = np.empty(0, np.int64), dict[ReadStrand, Pass]()
    for folder in folders:
        arrays = read_shard(folder / STORED, STORED_RECORD)[1]
        features = arrays["features"]
        for strand in read.read_strands:
            mine = {name[1:]: array for name, array in arrays.items() if name[0] == strand}
            _join(passes, strand, mine, bins)
    gathered = SignalRun(read, signals, halves, bins, features, passes)
    write_provenance(Path(out), **facts, shards=len(folders))
    return write_signals(gathered, Path(out))


def write_signals(gathered: SignalRun, out: Path) -> pd.DataFrame:
    """Write the tables of all pairs, of the best features, and of profiles, and return the second."""
    means = {strand: one.bins.means() for strand, one in gathered.passes.items()}
    tables = [pair_table(strand, gathered, means[strand]) for strand in gathered.passes]
    pairs = with_q(pd.concat(tables, ignore_index=True))
    best = best_table(pairs, gathered, {str(strand): one for strand, one in means.items()})
    for table, name in ((pairs, PAIRS), (_profiles(pairs, gathered), SIGNAL_PROFILES)):
        with atomic(out / name) as temporary:
            table.to_parquet(temporary, index=False)
    write_tsv(best, out / SIGNALS)
    log.info("%s, %s in %s", counted(len(gathered.signals), "signal"), counted(len(pairs), "pair"), out)
    return best


def _profiles(pairs: pd.DataFrame, gathered: SignalRun) -> pd.DataFrame:
    """Profiles of each signal around the places of the best features of each read strand, by the select half."""
    contigs = list(dict.fromkeys(region.contig for region in gathered.read.regions))
    offset, found = np.arange(-REACH, REACH + 1, dtype=np.int32), []
    for signal in gathered.signals:
        best = ranked(pairs, signal.name).groupby("read_strand", sort=False).head(PROFILED)
        for row in best.to_dict("records"):
            feature = feature_number(row["feature"])
            places = strongest(gathered.passes[row["read_strand"]].sums.places[feature][None], 100)[0]
            mean, known = profile(signal, gathered.read.genome, contigs, places, row["read_strand"])
            head = {name: row[name] for name in ("signal", "feature", "read_strand")}
            found.append(pd.DataFrame({**head, "offset": offset, "mean": mean, "places": known}))
    columns = ["signal", "feature", "read_strand", "offset", "mean", "places"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _arrays(one: Pass) -> dict[str, NDArray]:
    """What a shard stores of a read strand."""
    found = {f"totals_{f.name}": getattr(one.totals, f.name) for f in fields(Totals)}
    found |= {f"sums_{f.name}": getattr(one.sums, f.name) for f in fields(Sums)}
    return found | {f"bins_{name}": array for name, array in one.bins.arrays().items()}


def _join(passes: dict[ReadStrand, Pass], strand: ReadStrand, arrays: dict[str, NDArray], bins: Bins) -> None:
    """Add what a shard stored of a read strand."""
    sums = Sums(**{f.name: arrays[f"sums_{f.name}"] for f in fields(Sums)})
    if strand in passes:
        passes[strand].sums.merge(sums)
    else:
        totals = Totals(**{f.name: arrays[f"totals_{f.name}"] for f in fields(Totals)})
        shape = arrays["bins_known"].shape[1], arrays["bins_dimensions"].shape[1], len(sums.on)
        passes[strand] = Pass(totals, sums, BinSums(bins, *shape))
    passes[strand].bins.add_arrays({n.removeprefix("bins_"): a for n, a in arrays.items() if n.startswith("bins_")})
