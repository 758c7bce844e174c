"""``sae-tracks hub``, ``check-hub``, ``igv`` and ``pygenometracks``: tracks for the programs that draw them."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sae_tracks.cli.options import ShownAnnotationsOption, out_file, out_folder
from sae_tracks.cli.verb import verb

PANEL = "Look at results"
HUB = """With names: sae-tracks hub tracks/ --assembly hg38 --from scores/metrics.tsv --annotation sites.bed

Example: sae-tracks hub tracks/ --assembly hg38 --url https://example.org/tracks"""
TracksFolder = Annotated[Path, Argument(metavar="TRACKS", help="Folder of bigWigs, BED and bigBed files.")]
NamesOption = Annotated[
    Path | None,
    Option(
        "--from",
        metavar="TABLE",
        help="metrics.tsv or .parquet. Features are named after supported matches or repeats. The best come first.",
    ),
]
log = logging.getLogger(__name__)


@verb(HUB, panel=PANEL)
def hub(
    tracks: TracksFolder,
    assembly: Annotated[
        str | None,
        Option(help="UCSC's name of the assembly, such as hg38. The lengths of hg19, hg38 and sacCer3 are checked."),
    ] = None,
    genome: Annotated[Path | None, Option(help="FASTA, for an assembly that UCSC does not have.")] = None,
    out: Annotated[Path | None, out_folder("Folder of the hub (default: TRACKS).")] = None,
    scores: NamesOption = None,
    annotation: ShownAnnotationsOption = None,
    copy: Annotated[bool, Option("--copy", help="Copy the tracks into -o: this folder alone is then served.")] = False,
    email: Annotated[str | None, Option(help="E-mail address for questions; UCSC asks for one.")] = None,
    url: Annotated[str | None, Option(help="URL of the folder on your web server: prints UCSC's link.")] = None,
) -> None:
    """Write a UCSC track hub for a folder of bigWigs, with annotations beside them."""
    from sae_tracks.browsers.hub import NO_EMAIL, write_hub
    from sae_tracks.genome import Genome

    fasta, shown, email = Genome(genome) if genome else None, annotation or (), email or NO_EMAIL
    how = {"assembly": assembly, "genome": fasta, "email": email, "scores": scores, "annotations": shown}
    written = write_hub(tracks, out, **how, copy=copy)
    path, counts = written.path, (written.tracks, written.annotations)
    log.info("hub (tracks: %d, annotations: %d) in %s; check it with sae-tracks check-hub %s", *counts, path, path)
    log.info(
        "UCSC reads it from a web server with HTTPS and byte ranges. To test a server: "
        "curl -s -o /dev/null -w '%{http_code}' -r 0-9 URL prints 206"
    )
    log.info("until then, sae-tracks view %s shows the tracks on this machine", tracks)
    if url:
        typer.echo(written.link(url))
    else:
        log.info("--url https://... prints the browser's link")


@verb("Example: sae-tracks check-hub tracks/hub.txt", panel=PANEL)
def check_hub(
    hub: Annotated[Path, Argument(metavar="HUB", help="hub.txt of any program, or its folder.")],
) -> None:
    """Check a track hub by UCSC's rules, on this machine.

    The exit status is 1 if UCSC would refuse the hub or one of its tracks. Files at URLs are not checked.
    """
    from sae_tracks.browsers.check import check_hub as check

    findings = check(hub)
    errors = sum(finding.error for finding in findings)
    for finding in findings:
        typer.echo(finding)
    typer.echo(f"errors: {errors}, warnings: {len(findings) - errors}")
    raise typer.Exit(min(errors, 1))


@verb("Example: sae-tracks igv tracks/ --genome hg38 -o tracks/session", panel=PANEL)
def igv(
    tracks: TracksFolder,
    genome: Annotated[str, Option(help="IGV's id of the genome, such as hg38, or a FASTA.")],
    out: Annotated[
        Path | None,
        Option("--out", "-o", help="Name of the two files, OUT.xml and OUT.json (default: TRACKS/session)."),
    ] = None,
    locus: Annotated[
        str | None, Option(help="Region to open (default: the place at which the first track is highest).")
    ] = None,
    scores: NamesOption = None,
) -> None:
    """Write IGV sessions for a folder of tracks: XML for IGV desktop, JSON for igv.js."""
    from sae_tracks.browsers.igv import write_sessions

    desktop, web = write_sessions(tracks, genome, out, locus, scores)
    log.info("open %s in IGV, or load %s with igv.js", desktop, web)


@verb("Example: sae-tracks pygenometracks tracks/ -o tracks/tracks.ini", panel=PANEL)
def pygenometracks(
    tracks: TracksFolder,
    out: Annotated[Path | None, out_file("File to write (default: TRACKS/tracks.ini).")] = None,
) -> None:
    """Write tracks.ini, with which pyGenomeTracks draws a folder of tracks."""
    from sae_tracks.browsers.pygenometracks import write_tracks_ini

    path, command = write_tracks_ini(tracks, out)
    log.info("%s; draw it with %s", path, command)
