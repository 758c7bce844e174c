"""Sparse autoencoder features of gene language models as genome tracks.

The names below are the public API. Each is loaded when it is first used, so importing the package is instant. The
API reference is docs/api.md.
"""

import importlib
import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"
os.environ.setdefault("USE_HUB_KERNELS", "OFF")  # or transformers fetches native code for some models

if TYPE_CHECKING:  # the same names for type checkers and editors; a test compares them with _HOME
    from sae_tracks.activations.extract import extract as extract
    from sae_tracks.activations.extract import plan_extraction as plan_extraction
    from sae_tracks.activations.shards import ActivationShards as ActivationShards
    from sae_tracks.activations.shards import open_shards as open_shards
    from sae_tracks.activations.shards import write_shards as write_shards
    from sae_tracks.activations.shuffle import plan_shuffle as plan_shuffle
    from sae_tracks.activations.shuffle import shuffle as shuffle
    from sae_tracks.activations.stream import StreamedActivations as StreamedActivations
    from sae_tracks.controls.opened import ControlSettings as ControlSettings
    from sae_tracks.controls.score import merge_scores as merge_scores
    from sae_tracks.controls.score import score as score
    from sae_tracks.controls.score import score_bed as score_bed
    from sae_tracks.errors import SaeTracksError as SaeTracksError
    from sae_tracks.features import FeatureBlock as FeatureBlock
    from sae_tracks.features import stream_features as stream_features
    from sae_tracks.genome import Genome as Genome
    from sae_tracks.insight.atlas import Atlas as Atlas
    from sae_tracks.insight.atlas import Plane as Plane
    from sae_tracks.insight.atlas import atlas as atlas
    from sae_tracks.insight.compare import SAEComparison as SAEComparison
    from sae_tracks.insight.compare import compare_saes as compare_saes
    from sae_tracks.insight.describe import describe_features as describe_features
    from sae_tracks.insight.effects import effects as effects
    from sae_tracks.insight.insert import Insertion as Insertion
    from sae_tracks.insight.insert import insert_motifs as insert_motifs
    from sae_tracks.insight.merge import Merged as Merged
    from sae_tracks.insight.merge import merge_shards as merge_shards
    from sae_tracks.insight.motifs import FeatureMotifs as FeatureMotifs
    from sae_tracks.insight.motifs import feature_motifs as feature_motifs
    from sae_tracks.insight.partners import Coactivation as Coactivation
    from sae_tracks.insight.partners import coactivation as coactivation
    from sae_tracks.insight.partners import reverse_complement_partner as reverse_complement_partner
    from sae_tracks.insight.saturate import Saturation as Saturation
    from sae_tracks.insight.saturate import saturate as saturate
    from sae_tracks.insight.saturate import write_saturation as write_saturation
    from sae_tracks.insight.spliced import Spliced as Spliced
    from sae_tracks.insight.spliced import logit_attribution as logit_attribution
    from sae_tracks.insight.spliced import spliced as spliced
    from sae_tracks.insight.variants import VariantReport as VariantReport
    from sae_tracks.insight.variants import VariantSettings as VariantSettings
    from sae_tracks.insight.variants import score_variants as score_variants
    from sae_tracks.insight.variants import variant_effects as variant_effects
    from sae_tracks.lm import GeneLM as GeneLM
    from sae_tracks.lm import load_lm as load_lm
    from sae_tracks.metrics.evaluation import Evaluation as Evaluation
    from sae_tracks.metrics.evaluation import evaluate_on as evaluate_on
    from sae_tracks.reading import Reading as Reading
    from sae_tracks.reading import Window as Window
    from sae_tracks.reading import read as read
    from sae_tracks.region_sets.along import activity_along as activity_along
    from sae_tracks.region_sets.comparison import Comparison as Comparison
    from sae_tracks.region_sets.comparison import in_universe as in_universe
    from sae_tracks.region_sets.comparison import with_matched as with_matched
    from sae_tracks.region_sets.comparison import with_other as with_other
    from sae_tracks.region_sets.deviations import CellDeviations as CellDeviations
    from sae_tracks.region_sets.deviations import cell_deviations as cell_deviations
    from sae_tracks.region_sets.enrich import enrich as enrich
    from sae_tracks.region_sets.gene_lists import GeneLists as GeneLists
    from sae_tracks.region_sets.gene_lists import gene_lists as gene_lists
    from sae_tracks.region_sets.matched import MatchedRegions as MatchedRegions
    from sae_tracks.region_sets.matched import landscape as landscape
    from sae_tracks.region_sets.matched import match_regions as match_regions
    from sae_tracks.region_sets.matched import read_matched as read_matched
    from sae_tracks.region_sets.matrix import MatrixReport as MatrixReport
    from sae_tracks.region_sets.matrix import region_matrix as region_matrix
    from sae_tracks.region_sets.profile import BinLayout as BinLayout
    from sae_tracks.region_sets.profile import Profiles as Profiles
    from sae_tracks.region_sets.profile import region_profiles as region_profiles
    from sae_tracks.region_sets.regions import RegionSet as RegionSet
    from sae_tracks.region_sets.regions import read_gene_set as read_gene_set
    from sae_tracks.region_sets.regions import read_region_set as read_region_set
    from sae_tracks.regions import GenomicRegion as GenomicRegion
    from sae_tracks.sae import SAE as SAE
    from sae_tracks.sae import load_sae as load_sae
    from sae_tracks.sae import save_sae as save_sae
    from sae_tracks.sae.interop.convert import import_sae as import_sae
    from sae_tracks.sharing.benchmark import benchmark as benchmark
    from sae_tracks.sharing.definition import Benchmark as Benchmark
    from sae_tracks.sharing.publish import Published as Published
    from sae_tracks.sharing.publish import publish as publish
    from sae_tracks.signals.score import merge_signals as merge_signals
    from sae_tracks.signals.score import score_signals as score_signals
    from sae_tracks.source import Source as Source
    from sae_tracks.tracks.bed import write_bed as write_bed
    from sae_tracks.tracks.bed import write_beds as write_beds
    from sae_tracks.tracks.bigwig import write_bigwigs as write_bigwigs
    from sae_tracks.tracks.examples import top_examples as top_examples
    from sae_tracks.train.plan import plan_training as plan_training
    from sae_tracks.train.settings import TrainSettings as TrainSettings
    from sae_tracks.train.train import train_sae as train_sae

_HOME = {  # public name: the module that defines it, in the order of docs/api.md
    "Genome": "genome",
    "GenomicRegion": "regions",
    "load_lm": "lm",
    "GeneLM": "lm",
    "load_sae": "sae",
    "save_sae": "sae",
    "import_sae": "sae.interop.convert",
    "SAE": "sae",
    "Source": "source",
    "read": "reading",
    "Reading": "reading",
    "Window": "reading",
    "stream_features": "features",
    "FeatureBlock": "features",
    "write_bigwigs": "tracks.bigwig",
    "write_bed": "tracks.bed",
    "write_beds": "tracks.bed",
    "top_examples": "tracks.examples",
    "saturate": "insight.saturate",
    "write_saturation": "insight.saturate",
    "Saturation": "insight.saturate",
    "spliced": "insight.spliced",
    "Spliced": "insight.spliced",
    "logit_attribution": "insight.spliced",
    "effects": "insight.effects",
    "coactivation": "insight.partners",
    "Coactivation": "insight.partners",
    "reverse_complement_partner": "insight.partners",
    "region_profiles": "region_sets.profile",
    "BinLayout": "region_sets.profile",
    "Profiles": "region_sets.profile",
    "activity_along": "region_sets.along",
    "score": "controls.score",
    "score_bed": "controls.score",
    "merge_scores": "controls.score",
    "score_signals": "signals.score",
    "merge_signals": "signals.score",
    "ControlSettings": "controls.opened",
    "evaluate_on": "metrics.evaluation",
    "Evaluation": "metrics.evaluation",
    "insert_motifs": "insight.insert",
    "Insertion": "insight.insert",
    "describe_features": "insight.describe",
    "compare_saes": "insight.compare",
    "SAEComparison": "insight.compare",
    "atlas": "insight.atlas",
    "Atlas": "insight.atlas",
    "Plane": "insight.atlas",
    "feature_motifs": "insight.motifs",
    "FeatureMotifs": "insight.motifs",
    "merge_shards": "insight.merge",
    "Merged": "insight.merge",
    "score_variants": "insight.variants",
    "variant_effects": "insight.variants",
    "VariantSettings": "insight.variants",
    "VariantReport": "insight.variants",
    "read_region_set": "region_sets.regions",
    "read_gene_set": "region_sets.regions",
    "RegionSet": "region_sets.regions",
    "landscape": "region_sets.matched",
    "match_regions": "region_sets.matched",
    "read_matched": "region_sets.matched",
    "MatchedRegions": "region_sets.matched",
    "with_matched": "region_sets.comparison",
    "in_universe": "region_sets.comparison",
    "with_other": "region_sets.comparison",
    "Comparison": "region_sets.comparison",
    "enrich": "region_sets.enrich",
    "region_matrix": "region_sets.matrix",
    "MatrixReport": "region_sets.matrix",
    "gene_lists": "region_sets.gene_lists",
    "GeneLists": "region_sets.gene_lists",
    "cell_deviations": "region_sets.deviations",
    "CellDeviations": "region_sets.deviations",
    "plan_extraction": "activations.extract",
    "extract": "activations.extract",
    "open_shards": "activations.shards",
    "write_shards": "activations.shards",
    "ActivationShards": "activations.shards",
    "StreamedActivations": "activations.stream",
    "plan_shuffle": "activations.shuffle",
    "shuffle": "activations.shuffle",
    "TrainSettings": "train.settings",
    "plan_training": "train.plan",
    "train_sae": "train.train",
    "publish": "sharing.publish",
    "Published": "sharing.publish",
    "benchmark": "sharing.benchmark",
    "Benchmark": "sharing.definition",
    "SaeTracksError": "errors",
}
__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'sae_tracks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sae_tracks.{_HOME[name]}"), name)
