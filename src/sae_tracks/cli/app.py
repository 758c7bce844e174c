"""The Typer application; the help lists the verbs in the order in which their files are imported."""

# ruff: noqa: F401, I001
from typer.main import get_command

from sae_tracks.cli.verb import app
from sae_tracks.cli import demo
from sae_tracks.cli import scan, fetch
from sae_tracks.cli import activations, train
from sae_tracks.cli import evaluate
from sae_tracks.cli import tracks
from sae_tracks.cli import metrics, enrich
from sae_tracks.cli import report, plot, profiles, browsers
from sae_tracks.cli import motifs, insert, saturate, variants, effects, compare, merge, atlas, describe
from sae_tracks.cli import matrix, cells
from sae_tracks.cli import convert
from sae_tracks.cli import publish, benchmark

command = get_command(app)  # once: a call of `app` reads the signatures of all verbs
