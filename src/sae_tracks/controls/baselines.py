"""Baselines: what explains concepts without the trained autoencoder, or without the language model."""

import pandas as pd

from sae_tracks.controls.kmers import best_kmers
from sae_tracks.controls.neurons import best_neurons, probe_neurons
from sae_tracks.controls.random_sae import best_random_features
from sae_tracks.controls.sample import Sample, Sites
from sae_tracks.controls.sequence_probe import probe_sequence


def baselines(sample: Sample, sites: Sites, *, seed: int) -> pd.DataFrame:
    """The best k-mer, probe, dimension and random feature of every concept.

    Each is chosen on the select half of the sample and measured on the report half; F1 is NaN where the select half
    offers nothing to choose by.

    Parameters
    ----------
    sample : Sample
    sites : Sites
        Of which the labels are used, so those of A, C, G and T must be filled in.
    seed : int
        Of the random directions.

    Returns
    -------
    DataFrame
        A row a concept: ``kmer``, ``kmer_f1``, ``probe_f1``, ``neuron``, ``neuron_f1``, ``lm_probe_f1``,
        ``random_sae_f1``.
    """
    return pd.concat(
        [
            best_kmers(sample, sites)[["kmer", "kmer_f1"]],
            pd.DataFrame({"probe_f1": probe_sequence(sample, sites)}),
            best_neurons(sample, sites),
            pd.DataFrame(
                {
                    "lm_probe_f1": probe_neurons(sample, sites),
                    "random_sae_f1": best_random_features(sample, sites, seed),
                }
            ),
        ],
        axis=1,
    )
