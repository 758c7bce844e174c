"""The least value among the k largest of a whole batch, which may be spread over processes."""

import torch

from sae_tracks.train.parallel import Processes

SLACK = 0.9  # of the last batch's least value: what is smaller is taken to be none of this batch's largest


def kth_largest(values: torch.Tensor, k: int, group: Processes) -> float:
    """The k-th largest of the values of all processes; 0 where there are fewer than k.

    Parameters
    ----------
    values : (n,)
        This process's, > 0.
    """
    every = group.gather(_largest(values, k) if group.count > 1 else values)
    return every.kthvalue(len(every) - k + 1).values.item() if len(every) >= k else 0.0


def _largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest, or all where there are fewer, in no order."""
    return values.topk(min(k, len(values)), sorted=False).values
