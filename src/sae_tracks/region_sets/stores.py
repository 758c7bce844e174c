"""Files of a region x feature matrix, which are written part by part: AnnData, Parquet, MatrixMarket."""

import gzip
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, make_folder, scratch_folder, write_json, write_tsv

VALUES = ("mean", "maximum", "active")
FORMAT_VERSION = 1
RECORD = "sae_tracks"  # where a file holds its provenance
_HELD = 1 << 22  # entries that are written at once
_CHUNK = 1 << 18  # entries that HDF5 compresses together


@dataclass(frozen=True, slots=True)
class Entries:
    """Consecutive rows of the matrix as CSR, with three values per entry.

    Attributes
    ----------
    indptr : (n + 1,) int64
    column : (nnz,) int32
        Ascending within a row.
    mean, maximum, active : (nnz,) float32
    """

    indptr: NDArray[np.int64]
    column: NDArray[np.int32]
    mean: NDArray[np.float32]
    maximum: NDArray[np.float32]
    active: NDArray[np.float32]


class Store(Protocol):
    """A file that takes the rows of a matrix in order, and at the end what is known of rows and columns."""

    def add(self, rows: Entries) -> None: ...
    def finish(self, obs: pd.DataFrame, var: pd.DataFrame, record: Mapping[str, Any]) -> None: ...


def import_anndata() -> tuple[Any, Any]:
    """Import anndata and h5py; an error says how to install them."""
    try:
        import anndata
        import h5py
    except ImportError as error:
        raise SaeTracksError(f"{error.name} is not installed: pip install 'sae-tracks[single-cell]'") from error
    return anndata, h5py


def with_plain_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose text is Python's, because anndata does not write the text of pandas 3."""
    table = table.set_axis(pd.Index(table.index.astype(str).to_numpy(object), dtype=object))
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            words = pd.Index(column.cat.categories.to_numpy(object), dtype=object)
            table[name] = pd.Categorical.from_codes(column.cat.codes.to_numpy(), words)
        elif pd.api.types.is_string_dtype(column.dtype):
            table[name] = column.astype(object)
    return table


def check_store(out: Path) -> None:
    """Refuse a name that `open_store` cannot write to."""
    if out.suffix not in STORES:
        raise SaeTracksError(f"cannot write {out}: name a file that ends in .h5ad or .parquet, or a folder in .mtx")
    if STORES[out.suffix] is _H5ad:
        import_anndata()


@contextmanager
def open_store(out: Path, obs: pd.DataFrame, var: pd.DataFrame) -> Iterator[Store]:
    """Open a file for a matrix; its name decides the format. The file is whole or absent.

    Parameters
    ----------
    out : path
        ``.h5ad``, ``.parquet``, or a folder whose name ends in ``.mtx``.
    obs, var : DataFrame
        Names of rows and columns (the index), and of the rows ``chrom``, ``start`` and ``end``.

    Raises
    ------
    SaeTracksError
        Another ending, or anndata is not installed.
    """
    check_store(out)
    with ExitStack() as stack:
        yield STORES[out.suffix](out, obs, var, stack)


class _H5ad:
    """AnnData's file. The layers share the places of the entries with X, as links within the file."""

    def __init__(self, out: Path, obs: pd.DataFrame, var: pd.DataFrame, stack: ExitStack) -> None:
        self._anndata, h5py = import_anndata()
        self._shape, self._indptr, self._held = (len(obs), len(var)), [np.zeros(1, np.int64)], list[Entries]()
        self._written = self._waiting = 0
        self._file = stack.enter_context(h5py.File(stack.enter_context(atomic(out)), "w", rdcc_nbytes=8 * _CHUNK))
        self._of(self._file, "anndata", "0.1.0")
        self._of(self._file.create_group("layers"), "dict", "0.1.0")
        self._matrices = {name: self._file.create_group(name) for name in ("X", "layers/maximum", "layers/active")}
        for group, name in zip(self._matrices.values(), VALUES):
            self._of(group, "csr_matrix", "0.1.0", shape=np.array(self._shape))
            self._grows(group, "data", np.float32)
            if name == VALUES[0]:
                self._grows(group, "indices", np.int32)

    def add(self, rows: Entries) -> None:
        self._indptr.append(rows.indptr[1:] + self._indptr[-1][-1])
        self._held.append(rows)
        self._waiting += len(rows.column)
        if self._waiting >= _HELD:
            self._flush()

    def finish(self, obs: pd.DataFrame, var: pd.DataFrame, record: Mapping[str, Any]) -> None:
        self._flush()
        main, *layers = self._matrices.values()
        main.create_dataset("indptr", data=np.concatenate(self._indptr), compression="gzip")
        for layer in layers:
            layer["indices"], layer["indptr"] = main["indices"], main["indptr"]
        parts = {"obs": with_plain_text(obs), "var": with_plain_text(var), "uns": {RECORD: json.dumps(dict(record))}}
        for name, part in (parts | {name: {} for name in ("obsm", "varm", "obsp", "varp")}).items():
            self._anndata.io.write_elem(self._file, name, part)

    def _flush(self) -> None:
        """Write the entries that wait."""
        end = self._written + self._waiting
        columns = {"indices": ("X", "column"), **{name: (name, value) for name, value in zip(self._matrices, VALUES)}}
        for name, (group, attribute) in columns.items():
            stored = self._matrices[group]["indices" if name == "indices" else "data"]
            stored.resize((end,))
            if self._held:
                stored[self._written :] = np.concatenate([getattr(rows, attribute) for rows in self._held])
        self._written, self._waiting, self._held = end, 0, []

    @staticmethod
    def _of(group: Any, kind: str, version: str, **more: Any) -> None:
        group.attrs.update({"encoding-type": kind, "encoding-version": version, **more})

    @staticmethod
    def _grows(group: Any, name: str, kind: type) -> None:
        how = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        group.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(_CHUNK,), **how)


class _Parquet:
    """One row per entry: where, which feature, and its three values."""

    def __init__(self, out: Path, obs: pd.DataFrame, var: pd.DataFrame, stack: ExitStack) -> None:
        self._names = {"chrom": obs["chrom"].to_numpy(str), "region": obs.index.to_numpy(str)}
        self._spans = {name: obs[name].to_numpy() for name in ("start", "end")}
        self._features, self._first = pa.array(var.index.to_numpy(str)), 0
        text, values = pa.dictionary(pa.int32(), pa.string()), [(name, pa.float32()) for name in VALUES]
        spans = [("start", pa.int64()), ("end", pa.int64())]
        self._schema = pa.schema([("chrom", text), *spans, ("region", text), ("feature", text), *values])
        temporary = stack.enter_context(atomic(out))
        self._file = stack.enter_context(parquet.ParquetWriter(temporary, self._schema))

    def add(self, rows: Entries) -> None:
        count = np.diff(rows.indptr)
        here = slice(self._first, self._first + len(count))
        row = np.repeat(np.arange(len(count), dtype=np.int32), count)
        self._first = here.stop

        def named(name: str) -> pa.DictionaryArray:
            texts, codes = np.unique(self._names[name][here], return_inverse=True)
            return pa.DictionaryArray.from_arrays(codes.astype(np.int32)[row], pa.array(texts))

        start, end = (spans[here][row] for spans in self._spans.values())
        feature = pa.DictionaryArray.from_arrays(rows.column, self._features)
        columns = [named("chrom"), start, end, named("region"), feature, *(getattr(rows, name) for name in VALUES)]
        self._file.write_table(pa.table(columns, schema=self._schema))

    def finish(self, obs: pd.DataFrame, var: pd.DataFrame, record: Mapping[str, Any]) -> None:
        self._file.add_key_value_metadata({RECORD: json.dumps(dict(record))})


class _MatrixMarket:
    """The means in the layout of 10x: features are rows, regions stand for barcodes."""

    def __init__(self, out: Path, obs: pd.DataFrame, var: pd.DataFrame, stack: ExitStack) -> None:
        self._out, self._shape, self._count, self._first = make_folder(out), (len(var), len(obs)), 0, 1
        self._whole = stack.enter_context(atomic(out / "matrix.mtx.gz"))
        body = stack.enter_context(scratch_folder("entries", out))
        self._body = body / "entries.gz"  # the head, with the number of entries, is known last
        self._raw = stack.enter_context(self._body.open("wb"))
        self._file = _gzip(self._raw, 1)
        stack.callback(self._file.close)

    def add(self, rows: Entries) -> None:
        number = np.arange(self._first, self._first + len(rows.indptr) - 1)
        table = pa.table([rows.column + 1, np.repeat(number, np.diff(rows.indptr)), rows.mean], ["row", "column", "x"])
        csv.write_csv(table, self._file, csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none"))
        self._first, self._count = int(number[-1]) + 1, self._count + len(rows.column)

    def finish(self, obs: pd.DataFrame, var: pd.DataFrame, record: Mapping[str, Any]) -> None:
        self._file.close()
        self._raw.close()
        sizes = " ".join(map(str, (*self._shape, self._count)))
        head = f"%%MatrixMarket matrix coordinate real general\n%rows: features; columns: regions\n{sizes}\n"
        with self._whole.open("wb") as whole, self._body.open("rb") as body:
            whole.write(gzip.compress(head.encode(), mtime=0))
            shutil.copyfileobj(body, whole)
        _write_lines(self._out / "features.tsv.gz", [f"{name}\t{name}\tSAE feature" for name in var.index])
        _write_lines(self._out / "barcodes.tsv.gz", list(obs.index))
        write_tsv(obs.reset_index(names="region"), self._out / "regions.tsv")
        write_tsv(var.reset_index(names="name_in_files"), self._out / "columns.tsv")
        write_json(self._out / PROVENANCE, dict(record))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic(path) as temporary, temporary.open("wb") as raw, _gzip(raw, 9) as file:
        file.writelines(f"{line}\n".encode() for line in lines)


def _gzip(raw: BinaryIO, level: int) -> gzip.GzipFile:
    """A gzip file whose bytes depend on the content alone."""
    return gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=level, mtime=0)


STORES = {".h5ad": _H5ad, ".parquet": _Parquet, ".mtx": _MatrixMarket}
