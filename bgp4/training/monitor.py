"""A watch on mode collapse: does the flow give each state the data's share?"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import mdtraj
import numpy as np
from numpy.typing import NDArray

from bgp4.flows.generator import Conformations
from bgp4.molecule.states import State, members
from bgp4.parallel.ranks import ALONE, Ranks
from bgp4.statistics.verdicts import departs

__all__ = ["StateMonitor"]

log = logging.getLogger(__name__)


class StateMonitor:
    """Shares of samples in each state, against the data's.

    Reverse KL fakes its effective sample size by dropping a mode; this is where it shows.

    Args:
        comparable: Whether the frames are of the run's temperature; without, it never warns.
    """

    def __init__(
        self,
        states: Sequence[State],
        topology: mdtraj.Topology,
        positions_nm: NDArray[np.float32],
        ranks: Ranks = ALONE,
        comparable: bool = True,
    ) -> None:
        self.states = states
        self.topology = topology
        self.ranks = ranks
        self.comparable = comparable and len(positions_nm) > 0
        found = members(states, positions_nm, topology)
        self.data_shares = found.mean(axis=0) if len(found) else np.full(len(states), np.nan)

    def count(self, samples: Sequence[Conformations]) -> NDArray[np.int64]:  # (states + 1,)
        """How many valid samples are in each state and, last, how many there are; of this rank."""
        if not samples or not self.states:
            return np.zeros(len(self.states) + 1, dtype=np.int64)
        positions = [s.positions_nm[s.valid].detach().cpu().numpy() for s in samples]
        found = members(self.states, np.concatenate(positions), self.topology)
        return np.append(found.sum(axis=0), len(found))

    def shares(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Shares of all ranks' samples by label, NaN without any.

        It warns of those that are far from the data's, and not by chance.
        """
        *inside, n = map(int, self.ranks.total(*counts.tolist()))
        if n == 0:
            return dict.fromkeys((state.label for state in self.states), float("nan"))
        found = {state.label: k / n for state, k in zip(self.states, inside, strict=True)}
        for (label, share), data in zip(found.items(), self.data_shares.tolist(), strict=True):
            if self.comparable and departs(share, n, data, tests=len(found)):
                log.warning(
                    "%s: %.3g %% of the generated conformations, %.3g %% of the data",
                    *(label, 100 * share, 100 * data),
                )
        return found
