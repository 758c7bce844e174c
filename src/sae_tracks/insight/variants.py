"""What variants do to every feature: a table of changes, and the variants themselves with the largest ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, write_provenance, write_tsv
from sae_tracks.insight.alleles import REACH, Plan
from sae_tracks.insight.changes import Comparer, Effects
from sae_tracks.insight.null import Null, Phases, draw_null, feature_tests, variant_p
from sae_tracks.insight.vcf import Field, Variant, as_info, check_fields, format_of, read_variants, write_calls
from sae_tracks.names import counted, feature_name
from sae_tracks.progress import track
from sae_tracks.regions import WHOLE, GenomicRegion, ReadStrand, Shard
from sae_tracks.source import Source

TOP, LEAST = 5, 0.25  # changes per variant and read strand in the VCF; the smallest change of the table
HELD = 1 << 17  # rows of the table that are written at once
TIMED = 3  # windows that an estimate times
FEATURES = "features.tsv"
SWITCH = ("off", "", "on")


@dataclass(frozen=True, slots=True)
class VariantSettings:
    """How variants are scored.

    Attributes
    ----------
    top : int
        Number of features per variant and read strand in the VCF.
    min_change : float
        Smaller changes are left out of the table and the VCF.
    scale : "max" or "raw"
        Unit of all changes: the feature's maximum, or activations.
    threshold : float
        A feature is active in an allele if its maximum there is greater.
    loss : bool
        Also measure the model's own loss, if it has a next-base head.
    null : int
        Number of matched substitutions that are drawn for each one; 0 does without.
    seed : int
        Of the draws.
    """

    top: int = TOP
    min_change: float = LEAST
    scale: str = "max"
    threshold: float = 0.0
    loss: bool = True
    null: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class VariantReport:
    """What was written.

    Attributes
    ----------
    variants, changes : int
        Number of variants, and rows of the table.
    features : DataFrame, optional
        The tests of features, most significant first; None without a null.
    """

    variants: int
    changes: int
    features: pd.DataFrame | None


def variant_effects(
    source: Source,
    variants: Sequence[Variant],
    *,
    scale: str = "max",
    min_change: float = LEAST,
    loss: bool = False,
) -> Iterator[Effects]:
    """Compare what every feature does on the reference and on the alternative of each variant.

    Both alleles are read with the same bases before them, on each read strand of the source. A base of the alternative
    is compared with its counterpart on the reference: the last bases of both alleles, as many as the shorter one has,
    and the 15 bases behind them, in the direction of reading. So the number of compared bases is the same for both,
    whatever their lengths. The bases that the longer allele has in addition are compared with nothing; they count only
    for the maxima. The same holds of an insertion or deletion as of its last possible place in the direction of
    reading, so its notation does not matter. With a model that is not causal, 15 bases before the variant are compared
    too. Bases behind the end of a contig, in long runs of N, and other letters are left out.

    Parameters
    ----------
    source : Source
    variants : sequence of Variant
        From `read_variants`, in any order.
    scale : "max" or "raw"
        Changes in units of the feature's maximum, or activations. Features without a maximum are left out of the first.
    min_change : float
        Smaller changes are left out, unless the maxima over the compared bases differ as much.
    loss : bool
        Also measure the loss of the compared bases, of a HyenaDNA with a next-base head.

    Yields
    ------
    Effects
        Of some variants at a time, window by window, one read strand after the other.
    """
    yield from _compared(source, _comparer(source, scale, min_change, loss), variants)


def _compared(source: Source, comparer: Comparer, variants: Sequence[Variant]) -> Iterator[Effects]:
    for strand in source.read_strands:
        windows = comparer.plan.windows(variants, strand)
        for window in track(windows, f"scoring {strand}", len(windows)):
            yield from comparer.compare(window)


def _comparer(source: Source, scale: str, min_change: float, loss: bool) -> Comparer:
    unit = np.ones(source.sae.d_sae, np.float32)
    if scale == "max":
        maxima = source.sae.maxima()
        unit = np.divide(1, maxima, out=np.zeros_like(maxima), where=maxima > 0)
    return Comparer(Plan(source), source.encoder(), unit, min_change, loss=loss)


def score_variants(
    source: Source,
    vcf: str | Path,
    out: str | Path,
    settings: VariantSettings | None = None,
    *,
    annotation: str | Path | None = None,
    alias: str | None = None,
    shard: Shard = WHOLE,
) -> VariantReport:
    """Score the variants of a VCF, and write them with what they change, a table of all changes, and tests.

    See `variant_effects` for what is compared, and docs/formats.md for what is written.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and read strands. Its regions do not matter.
    vcf : path
        VCF or BCF, sorted, with one alternative per record.
    out : path
        Name of the new VCF or BCF: ``.vcf.gz``, ``.vcf`` or ``.bcf``. ``.parquet``, ``.provenance.json`` and, with a
        null, ``.features.tsv`` have the same name otherwise.
    settings : VariantSettings, optional
        What is measured, and what is written of it.
    annotation : path, optional
        GTF whose CDS give the codon phase that drawn substitutions share; only with a null.
    alias : str, optional
        Other names of contigs in the annotation; see `Contigs`.
    shard : Shard
        A contiguous part of the records; none with a null.

    Returns
    -------
    VariantReport
        Numbers of variants and changes, and the tests of features.

    Raises
    ------
    SaeTracksError
        See `read_variants`.
    """
    settings, out = settings or VariantSettings(), Path(out)
    if settings.null and shard.count > 1:
        raise SaeTracksError("--null compares all variants with all draws: score them without --shard")
    ending = format_of(out)
    base = out.with_name(out.name.removesuffix(ending))
    calls = read_variants(vcf, source.genome, shard)
    comparer = _comparer(source, settings.scale, settings.min_change, settings.loss)
    fields = _fields(source, settings, with_loss=comparer.next_base is not None)
    check_fields(calls, fields)
    source = replace(source, regions=_contigs(source, calls.variants))
    null = _null(source, calls.variants, settings, annotation, alias)
    found = _Found(calls.variants, null, source.read_strands, settings, calls.first)
    with atomic(Path(f"{base}.parquet")) as temporary, _Table(temporary) as table:
        for effects in _compared(source, comparer, [*calls.variants, *null.variants]):
            table.add(found.take(effects))
        changes = table.rows
    write_calls(calls, out, fields, found.info(fields), max(source.genome.lengths.values()))
    tests = found.tests(Path(f"{base}.{FEATURES}")) if settings.null else None
    facts = {
        "variants": str(vcf),
        "shard": f"{shard.index}/{shard.count}",
        "annotation": annotation and str(annotation),
    }
    facts |= {name: getattr(settings, name) for name in VariantSettings.__dataclass_fields__}
    write_provenance(base.parent, file_name=f"{base.name}.{PROVENANCE}", **source.provenance(), **facts)
    return VariantReport(len(calls.variants), changes, tests)


def _fields(source: Source, settings: VariantSettings, *, with_loss: bool) -> list[Field]:
    """The INFO fields; those with a number per read strand have them in the order of the read strands."""
    strands = len(source.read_strands)
    order = (
        f", per read strand ({', '.join(source.read_strands)})" if strands > 1 else f", read {source.read_strands[0]}"
    )
    unit = "parts of its maximum" if settings.scale == "max" else "activations"
    fields = [
        Field(
            "SAE_TOP",
            ".",
            "String",
            f"SAE features of largest change, ALT minus REF, in {unit}: feature|read strand|change of largest "
            f"magnitude over the allele and {REACH} bases behind it|change at the variant|difference of the maxima|"
            "bases from the allele's end to the largest change, as it is read|on or off if active in one allele alone",
        ),
        Field("SAE_MAX", strands, "Float", f"Largest absolute change of any SAE feature{order}"),
    ]
    if with_loss:
        what = f"Loss of ALT minus REF in nats, summed over the bases of SAE_TOP{order}"
        fields.append(Field("SAE_LOSS", strands, "Float", what))
    if settings.null:
        what = "Share of matched drawn substitutions with the same or a larger SAE_MAX"
        fields.append(Field("SAE_P", strands, "Float", f"{what}{order}"))
    return fields


def _contigs(source: Source, variants: Sequence[Variant]) -> list[GenomicRegion]:
    lengths = source.genome.lengths
    return [GenomicRegion(contig, 0, lengths[contig]) for contig in dict.fromkeys(one.contig for one in variants)]


def _null(
    source: Source,
    variants: Sequence[Variant],
    settings: VariantSettings,
    annotation: str | Path | None,
    alias: str | None,
) -> Null:
    if not settings.null:
        return Null([], np.empty(0, np.int64), np.full(len(variants), -1))
    plan, strand = Plan(source), source.read_strands[0]
    regions = source.genome.merged({plan.neighbourhood(one, strand) for one in variants if one.snv})
    phases = Phases(source.genome, annotation, regions, alias)
    return draw_null(source.genome, variants, regions, settings.null, phases=phases, seed=settings.seed)


class _Found:
    """What is kept of every variant, and the hits of given and drawn ones."""

    def __init__(
        self,
        variants: Sequence[Variant],
        null: Null,
        strands: Sequence[ReadStrand],
        settings: VariantSettings,
        first: int,
    ) -> None:
        self._variants, self._null, self._strands, self._settings = variants, null, list(strands), settings
        n, every = len(variants), len(variants) + len(null.variants)
        self._n, self._first = n, first
        self._strongest = np.zeros((every, len(strands)), np.float32)
        self._loss = np.full((every, len(strands)), np.nan, np.float32)
        self._top = [[""] * len(strands) for _ in variants]
        self._hits: list[list[tuple[NDArray, NDArray, NDArray]]] = [[] for _ in strands]

    def take(self, effects: Effects) -> dict[str, NDArray]:
        """Take in some effects; return the columns of the table for the given variants among them."""
        strand = self._strands.index(effects.read_strand)
        self._strongest[effects.number, strand], self._loss[effects.number, strand] = effects.strongest, effects.loss
        if self._settings.null:
            hit = np.abs(effects.change) >= self._settings.min_change
            hit &= effects.change != 0
            self._hits[strand].append((effects.of[hit], effects.feature[hit], effects.change[hit]))
        switch = self._switches(effects)
        edges = np.flatnonzero(np.diff(effects.of, prepend=-1, append=-1))
        for start, end in zip(edges.tolist(), edges[1:].tolist()):
            number = int(effects.of[start])
            if number < self._n:
                self._top[number][strand] = self._largest(effects, switch, slice(start, end))
        return self._columns(effects, switch)

    def _switches(self, effects: Effects) -> NDArray[np.int8]:
        """(r,) 1 where the feature is active in the alternative alone, -1 in the reference alone."""
        on, off = (value > self._settings.threshold for value in (effects.alt_max, effects.ref_max))
        return on.astype(np.int8) - off.astype(np.int8)

    def _largest(self, effects: Effects, switch: NDArray[np.int8], rows: slice) -> str:
        chosen = np.argsort(-np.abs(effects.change[rows]), kind="stable")[: self._settings.top] + rows.start
        texts = []
        for i in chosen.tolist():
            values = effects.change[i], effects.focal[i], effects.alt_max[i] - effects.ref_max[i]
            words = feature_name(int(effects.feature[i])), effects.read_strand, *(f"{value:.4g}" for value in values)
            texts.append("|".join((*words, str(effects.distance[i]), SWITCH[switch[i] + 1])))
        return ",".join(texts)

    def _columns(self, effects: Effects, switch: NDArray[np.int8]) -> dict[str, Any]:
        rows = effects.of < self._n
        of = effects.of[rows]
        mine = [self._variants[number] for number in of.tolist()]
        return {
            "record": (of + self._first).astype(np.int32),
            "contig": [one.contig for one in mine],
            "start": np.array([one.start for one in mine], np.int64),
            "ref": [one.ref.decode() for one in mine],
            "alt": [one.alt.decode() for one in mine],
            "read_strand": [effects.read_strand] * len(mine),
            "feature": [feature_name(number) for number in effects.feature[rows].tolist()],
            "change": effects.change[rows],
            "position": effects.position[rows],
            "distance": effects.distance[rows].astype(np.int32),
            "focal_change": effects.focal[rows],
            "ref_max": effects.ref_max[rows],
            "alt_max": effects.alt_max[rows],
            "switch": [SWITCH[one + 1] for one in switch[rows].tolist()],
        }

    def info(self, fields: Sequence[Field]) -> Iterator[Mapping[str, Any]]:
        """INFO of each given variant."""
        p = [variant_p(column, self._null) for column in self._strongest.T] if self._settings.null else []
        names = {field.name for field in fields}
        for i in range(self._n):
            found: dict[str, Any] = {"SAE_MAX": as_info(self._strongest[i])}
            if top := [text for text in self._top[i] if text]:
                found["SAE_TOP"] = ",".join(top).split(",")
            if "SAE_LOSS" in names:
                found["SAE_LOSS"] = as_info(self._loss[i])
            if p and not np.isnan(p[0][i]):
                found["SAE_P"] = as_info([one[i] for one in p])
            yield found

    def tests(self, path: Path) -> pd.DataFrame:
        """Test the features and write the table."""
        tables = []
        for strand, hits in zip(self._strands, self._hits):
            of, feature, change = (np.concatenate(arrays) for arrays in zip(*hits))
            tables.append(feature_tests(of, feature, change, self._null, self._variants, strand))
        table = pd.concat(tables, ignore_index=True)
        write_tsv(table, path)
        return table


SCHEMA = pa.schema({
    "record": pa.int32(),
    "contig": pa.string(),
    "start": pa.int64(),
    "ref": pa.string(),
    "alt": pa.string(),
    "read_strand": pa.string(),
    "feature": pa.string(),
    "change": pa.float32(),
    "position": pa.int64(),
    "distance": pa.int32(),
    "focal_change": pa.float32(),
    "ref_max": pa.float32(),
    "alt_max": pa.float32(),
    "switch": pa.string(),
})  # fmt: skip


class _Table:
    """A Parquet file that grows by rows."""

    def __init__(self, path: Path) -> None:
        self._writer, self._held, self.rows, self._waiting = parquet.ParquetWriter(path, SCHEMA), [], 0, 0

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._write()
        self._writer.close()

    def add(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        self._held.append(pa.table(dict(columns), schema=SCHEMA))
        self.rows, self._waiting = self.rows + len(self._held[-1]), self._waiting + len(self._held[-1])
        if self._waiting >= HELD:
            self._write()

    def _write(self) -> None:
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held))
        self._held, self._waiting = [], 0


@dataclass(frozen=True, slots=True)
class VariantEstimate:
    """What scoring takes."""

    variants: int
    windows: int  # of all read strands
    changes: int  # rows of the table, if variants are like those that were timed
    seconds: float

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.seconds), 60)
        return (
            f"{counted(self.variants, 'variant')} in {counted(self.windows, 'window')}, about "
            f"{counted(self.changes, 'change')}; time about {minutes // 60} h {minutes % 60:02d} min {seconds:02d} s"
        )


def estimate(source: Source, vcf: str | Path, settings: VariantSettings, shard: Shard = WHOLE) -> VariantEstimate:
    """Check a VCF, and time some windows of its variants, without the draws of a null."""
    variants = read_variants(vcf, source.genome, shard).variants
    comparer = _comparer(source, settings.scale, settings.min_change, settings.loss)
    windows = [window for strand in source.read_strands for window in comparer.plan.windows(variants, strand)]
    some = [windows[i] for i in np.unique(np.linspace(0, len(windows) - 1, TIMED).astype(int))]
    list(comparer.compare(some[0]))  # compiles
    started = perf_counter()
    rows = [len(effects.of) for window in some for effects in comparer.compare(window)]
    seconds = perf_counter() - started
    timed = sum(len(window.alleles) for window in some)
    share = len(variants) * len(source.read_strands) / timed
    return VariantEstimate(len(variants), len(windows), round(sum(rows) * share), seconds * len(windows) / len(some))
