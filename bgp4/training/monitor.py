"""A watch on mode collapse: does the flow's share of φ > 0 stay the data's?"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.flows.generator import Conformations
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.statistics.verdicts import departs

__all__ = ["PhiMonitor"]

log = logging.getLogger(__name__)


class PhiMonitor:
    """Share of samples whose first φ is positive, against the data's.

    Reverse KL fakes its effective sample size by dropping a mode; this is where it shows. A
    molecule without φ has no share (NaN).

    Args:
        comparable: Whether the frames are of the run's temperature; without, it never warns.
    """

    def __init__(
        self,
        topology: mdtraj.Topology,
        positions_nm: NDArray[np.float32],
        ranks: Ranks = ALONE,
        comparable: bool = True,
    ) -> None:
        self.topology = topology
        self.ranks = ranks
        self.comparable = comparable
        self.data_share = self._positive(positions_nm).mean() if len(positions_nm) else np.nan

    def count(self, samples: Sequence[Conformations]) -> tuple[int, int]:
        """How many valid samples have φ > 0, and how many there are; of this rank."""
        if not samples or np.isnan(self.data_share):
            return 0, 0
        positions = [s.positions_nm[s.valid].detach().cpu().numpy() for s in samples]
        positive = self._positive(np.concatenate(positions))
        return int(positive.sum()), len(positive)

    def share(self, positive: int, n: int) -> float:
        """The share of all ranks' samples; warns if far from the data's, and not by chance."""
        positive, n = map(int, self.ranks.total(positive, n))
        if n == 0:
            return float("nan")
        share = positive / n
        if self.comparable and departs(share, n, float(self.data_share)):
            log.warning(
                "φ > 0 in %.3g %% of the generated conformations, %.3g %% of the data",
                100 * share,
                100 * self.data_share,
            )
        return share

    def _positive(self, positions_nm: NDArray[np.floating]) -> NDArray[np.bool_]:
        trajectory = mdtraj.Trajectory(positions_nm.astype(np.float32), self.topology)
        _, phi = mdtraj.compute_phi(trajectory)
        return phi[:, 0] > 0 if phi.shape[1] else np.full(len(positions_nm), np.nan)
