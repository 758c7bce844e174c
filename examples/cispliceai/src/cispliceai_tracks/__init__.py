"""Splice-site networks of SpliceAI's architecture as models of sae-tracks."""
