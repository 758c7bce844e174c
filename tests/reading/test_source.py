"""A source: its stream from any base on, and what its record holds."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy import OneHotLM, random_dna
from track_oracle import toy_source

from sae_tracks.files import values_differ
from sae_tracks.regions import GenomicRegion, StreamPosition
from sae_tracks.sae.encoder import DeviceEncoder, SparseEncoder

RECORDS = {"a": random_dna(300), "b": random_dna(100, seed=1)}


def test_the_identity_does_not_hold_names_and_paths(tmp_path):
    with toy_source(RECORDS) as (source, _), toy_source(RECORDS) as (moved, _):
        assert source.genome.path != moved.genome.path
        moved.lm.model_id = "the same model, copied"
        assert values_differ(source.identity(), moved.identity()) is None


def test_a_source_says_what_it_reads_and_where_it_computes():
    with toy_source(RECORDS, [GenomicRegion("a", 0, 80), GenomicRegion("b", 0, 9)]) as (source, _):
        assert repr(source) == (
            "Source(89 bases in 2 regions of toy.fa, read +, windows of 24 with 6 of context, 6 features)"
        )
        on_gpu = replace(source, lm=OneHotLM())
        on_gpu.lm.model = SimpleNamespace(device=torch.device("cuda:1"))
        assert (source.identity()["device"], on_gpu.identity()["device"]) == ("cpu", "cuda")
        assert values_differ(source.identity(), on_gpu.identity()) == "device"
        on_gpu.lm.model.device = torch.device("meta")  # one that every build of torch has
        assert (type(source.encoder()), type(on_gpu.encoder())) == (SparseEncoder, DeviceEncoder)


@pytest.mark.parametrize("strands", [["+"], ["-"], ["+", "-"]])
def test_the_stream_goes_on_at_any_base(strands):
    with toy_source(RECORDS, [GenomicRegion("a", 10, 90), GenomicRegion("b", 5, 60)], strands) as (source, _):
        whole = [base for block in source.blocks() for base in bases_of(block)]
        for strand in strands:
            for contig, base in [("a", 0), ("a", 10), ("a", 37), ("a", 89), ("a", 300), ("b", 0), ("b", 59), ("b", 60)]:
                left = source.blocks(after=StreamPosition(strand, contig, base))
                reached = strands.index(strand), contig, base
                expected = [one for one in whole if (strands.index(one[0]), one[1], one[2]) >= reached]
                assert [one for block in left for one in bases_of(block)] == expected


def bases_of(block):
    """Read strand, contig, base, features and values of every base of a block."""
    for i in range(len(block.region)):
        held = slice(block.indptr[i], block.indptr[i + 1])
        found = block.feature[held].tolist(), block.value[held].tolist()
        yield block.read_strand, block.region.contig, block.region.start + i, bool(block.readable[i]), found
