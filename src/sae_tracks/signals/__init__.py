"""How features follow quantities along the genome, such as ATAC, ChIP or conservation."""

from sae_tracks.signals.score import SignalTask, merge_signals, score_signals

__all__ = ["SignalTask", "merge_signals", "score_signals"]
