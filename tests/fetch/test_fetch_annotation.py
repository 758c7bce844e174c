"""Public annotations: the addresses, what arrives, and how the other verbs read it."""

import gzip
import random
import re
import shutil
import subprocess
from pathlib import Path

import pyBigWig
import pytest
from annotation_files import rows, stated_genome
from command_line import run
from mirror import md5_lines, mirror
from test_fetch import provenance

from sae_tracks.annotations import read_annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.fetch import fetch_annotation
from sae_tracks.fetch.annotations import TABLE
from sae_tracks.fetch.cache import bsd_sum
from sae_tracks.fetch.transfer import SITES
from sae_tracks.tracks.bbi.bigbed import write_bigbed

GUIDE = (Path(__file__).parents[2] / "docs/guide.md").read_text()
FIELDS = re.findall(r"(?m)^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \| (\S+) \| (http\S+) \|$", GUIDE)
CCRE_SQL = """table encodeCcreCombined
"cCREs"
(
string chrom; "contig"
uint chromStart; "start"
uint chromEnd; "end"
string name; "accession"
uint score; "score"
char[1] strand; "none"
uint thickStart; "start"
uint thickEnd; "end"
uint reserved; "colour"
string ccre; "classification"
string encodeLabel; "label"
float zScore; "Z"
string ucscLabel; "UCSC's label"
string accessionLabel; "accession"
string description; "words"
)
"""
RMSK = "585\t463\t13\t6\t17\t{}\t10\t46\t-248\t+\tAluY\tSINE\tAlu\t1\t471\t0\t1\n"
GTF = '#!genome\n{}\tx\texon\t11\t46\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
VCF = "##fileformat=VCFv4.1\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{}\t11\t1\tA\tG\t.\t.\t.\n"
SGD = "S000002143\tORF\tDubious\tYAL069W\t\t\tchromosome 1\t\t{}\t11\t46\tW\t\t\t\t\n"
TEXTS = {"GTF": GTF, "rmsk": RMSK, "VCF": VCF, "SGD": SGD}
EVERY = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name}-{row.assembly}")


def payload(row, folder):
    """A small file of the row's format, on its first contig."""
    if row.format == "bigBed":
        item = (row.contig, 10, 46, "EH38E1\t900\t.\t10\t46\t1\tdELS,CTCF-bound\tdELS\t3.5\tenhD\tE1\twords")
        write_bigbed(folder / "made.bb", {row.contig: 1000}, [item], CCRE_SQL, 64)
        return (folder / "made.bb").read_bytes()
    if row.format == "bigWig":
        with pyBigWig.open(str(folder / "made.bw"), "w") as file:
            file.addHeader([(row.contig, 1000)])
            file.addEntries([row.contig], [10], ends=[46], values=[1.5])
        return (folder / "made.bw").read_bytes()
    text = TEXTS[row.format].format(row.contig).encode()
    return text if row.format == "SGD" else gzip.compress(text, mtime=0)


def sums_of(row, data, folder):
    """The list of checksums as the server writes it; Ensembl's by the program `sum`."""
    name = row.remote.name
    if row.sums == "CHECKSUMS":
        (folder / name).write_bytes(data)
        line = subprocess.run(["sum", name], cwd=folder, capture_output=True, text=True, check=True).stdout
        return f"00001     1 README\n{' '.join(line.split()[:2])} {name}\n".encode()
    if row.sums == f"{name}.md5":
        return md5_lines({f"/panfs/made/{name.replace('.vcf', '_20250101.vcf')}": data})
    return md5_lines({"another": b"", name: data})


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A function that serves a row's file and returns the server, and the paths of the file and its checksums."""
    with mirror({}, tmp_path / "cache", monkeypatch) as server:

        def serve(row):
            folder = tmp_path / "made"
            folder.mkdir(exist_ok=True)
            path = server_path(row)
            listed = f"{path.rpartition('/')[0]}/{row.sums}"
            server.files[path] = payload(row, folder)
            if row.sums:
                server.files[listed] = sums_of(row, server.files[path], folder)
            return server, path, listed

        yield serve


def server_path(row):
    """The path of the documented address below the site, which the mirror stands for."""
    (url,) = [url for name, assembly, *_, url in FIELDS if (name, assembly) == (row.name, row.assembly)]
    return url.removeprefix(SITES[row.site][1])


def row_of(name, assembly):
    (row,) = [row for row in TABLE if (row.name, row.assembly) == (name, assembly)]
    return row


def test_the_guide_lists_every_file_with_its_address():
    stated = {(r.name, r.assembly, r.format, r.contig, str(r.sums).lower(), r.remote.url) for r in TABLE}
    assert {(*row[:4], row[4].lower(), row[5]) for row in FIELDS} == stated
    assert len(FIELDS) == len(TABLE) == len({(row.name, row.assembly) for row in TABLE})


def test_the_help_names_every_annotation_and_assembly():
    text = run("fetch", "annotation", "--help").stdout
    assert all(word in text for row in TABLE for word in (row.name, row.assembly))


@EVERY
def test_a_file_comes_as_its_server_has_it_with_its_origin(served, tmp_path, row):
    server, path, listed = served(row)
    out = tmp_path / Path(path).name
    assert not fetch_annotation(row.name, row.assembly, out)
    assert out.read_bytes() == server.files[path]
    assert server.seen == [(listed, None)] * bool(row.sums) + [(path, None)]
    (source,) = provenance(out)["sources"]
    assert source["url"] == server.url + path
    assert ("trusted" in source["checked"]) == (row.sums is None)
    assert source["checked"].endswith(listed) or row.sums is None


@EVERY
def test_another_checksum_or_another_start_is_refused(served, tmp_path, row):
    server, path, _ = served(row)
    data = server.files[path]
    server.files[path] = data[:-1] + bytes([data[-1] ^ 1]) if row.sums else b"<html>"
    with pytest.raises(SaeTracksError, match=r"came damaged: its (MD5|BSD sum) is not \w+; nothing is kept|error page"):
        fetch_annotation(row.name, row.assembly, tmp_path / "out")
    assert {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()} == {".lock"}
    server.files[path] = data
    fetch_annotation(row.name, row.assembly, tmp_path / "out")


@EVERY
def test_the_cache_serves_offline(served, tmp_path, row):
    server, _, _ = served(row)
    with pytest.raises(SaeTracksError, match="is not there: run without --offline"):
        fetch_annotation(row.name, row.assembly, tmp_path / "a", offline=True)
    fetch_annotation(row.name, row.assembly, tmp_path / "a")
    server.seen.clear()
    fetch_annotation(row.name, row.assembly, tmp_path / "b", offline=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert server.seen == []


@EVERY
def test_what_arrives_is_read_on_ucscs_genome_with_the_alias_that_the_command_names(served, tmp_path, row):
    served(row)
    gzipped = row.format in ("GTF", "rmsk", "VCF")
    words = [row.name, "--assembly", row.assembly, "-o", f"out{'.gz' * gzipped}"]
    said = run("fetch", "annotation", *words, cwd=tmp_path).stderr
    alias = re.search("--alias (ucsc)", said)
    assert said.endswith(f"{words[-1]} is written\n")
    assert bool(alias) == (not row.contig.startswith("chr"))
    genome = stated_genome(tmp_path, **{"chr" + row.contig.removeprefix("chr"): 1000})
    concepts = {"GTF": {"exon", "TSS"}, "rmsk": {"SINE", "SINE/Alu"}, "bigBed": {"dELS"}}.get(row.format)
    if concepts:
        sites = rows(read_annotation(tmp_path / words[-1], genome, alias=alias and alias[1]))
        assert concepts <= {site[3] for site in sites}
        assert {site[1:3] for site in sites if site[3] in concepts - {"TSS"}} == {(10, 46)}


def test_gzip_is_unpacked_unless_the_name_says_gzip(served, tmp_path):
    server, path, _ = served(row_of("genes", "hg38"))
    fetch_annotation("genes", "hg38", tmp_path / "genes.gtf")
    assert (tmp_path / "genes.gtf").read_bytes() == gzip.decompress(server.files[path])
    server.seen.clear()
    with pytest.raises(SaeTracksError, match=r"a.gz: hg38.phyloP100way.bw is bigWig, which is not gzip: leave out .gz"):
        fetch_annotation("phylop", "hg38", tmp_path / "a.gz")
    assert server.seen == []


def test_a_transfer_that_breaks_off_is_resumed(served, tmp_path):
    row = row_of("genes", "ce11")
    server, path, listed = served(row)
    server.files[path] = gzip.compress(random.Random(1).randbytes(300_000))
    server.files[listed] = sums_of(row, server.files[path], tmp_path)
    server.cut[path] = [100_000]
    fetch_annotation("genes", "ce11", tmp_path / "out.gz")
    assert (tmp_path / "out.gz").read_bytes() == server.files[path]
    assert [ranges is not None for asked, ranges in server.seen if asked == path] == [False, True]


def test_a_folder_without_a_list_of_checksums_is_trusted(served, tmp_path):
    server, _, listed = served(row_of("ccres", "hg38"))
    del server.files[listed]
    fetch_annotation("ccres", "hg38", tmp_path / "a.bb")
    assert "trusted" in provenance(tmp_path / "a.bb")["sources"][0]["checked"]


@pytest.mark.parametrize(
    ("name", "assembly", "message"),
    [
        ("gene", "hg38", r"no annotation 'gene' \(did you mean genes\?\); choose from genes, repeats, ccres"),
        ("genes", "hg83", r"no genes of 'hg83' \(did you mean hg38\?\); choose from hg38, hg19, mm39, ce11, sacCer3"),
        ("clinvar", "ce11", "no clinvar of 'ce11'; choose from hg38, hg19"),
        ("repeats", "sacCer3", "no repeats of 'sacCer3', because UCSC has no rmsk table of it"),
        ("phylop", "sacCer3", "no phylop of 'sacCer3', because UCSC has no phyloP of it"),
    ],
)
def test_what_no_server_has_is_one_line_with_what_there_is(tmp_path, name, assembly, message):
    with pytest.raises(SaeTracksError, match=f"^{message}"):
        fetch_annotation(name, assembly, tmp_path / "out")


@pytest.mark.skipif(not shutil.which("sum"), reason="needs the program sum")
@pytest.mark.parametrize("size", [0, 1, 1024, 70_001])
def test_the_bsd_sum_is_that_of_the_program(tmp_path, size):
    (tmp_path / "a").write_bytes(random.Random(size).randbytes(size))
    said = subprocess.run(["sum", tmp_path / "a"], capture_output=True, text=True, check=True).stdout
    assert bsd_sum(tmp_path / "a") == int(said.split()[0])
