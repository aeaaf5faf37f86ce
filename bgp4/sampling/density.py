"""The flow's density of MD frames that it has not learned from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bgp4.data.frames import Frames, split_blocks
from bgp4.parallel.threads import in_threads
from bgp4.sampling.generate import TrainedRun

__all__ = ["heldout_log_prob"]

BATCH = 2048
"""Frames whose log-density is computed at a time."""


def heldout_log_prob(trained: TrainedRun, frames: Frames) -> NDArray[np.float64] | None:
    """The flow's log-density of held-out frames, (frames,), NaN at those that trained it.

    Of a reference all are held out. None where the frames are of another temperature, or of
    constrained MD in a run without these constraints, or the other way round.

    Args:
        trained: The run.
        frames: As `judging_frames` loads them.
    """
    config = trained.config
    apart = frames.constrained or frames.lengths_set
    if apart or frames.temperature_k not in (None, config.temperature_k):
        return None
    n = len(frames.positions_nm)
    heldout = (
        split_blocks(n, config.data.heldout_fraction, config.seed).heldout
        if config.judging_data is config.data
        else np.arange(n)
    )
    batches = torch.as_tensor(frames.positions_nm[heldout]).split(BATCH)
    log_prob = np.full(n, np.nan)
    density = torch.no_grad()(trained.model.log_prob_xyz)
    log_prob[heldout] = torch.cat(list(in_threads(density, batches))).cpu().numpy()
    return log_prob
