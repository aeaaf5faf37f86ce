"""P4: training through property-preserving rank-one perturbations (arXiv 2010.07033)."""

from bgp4.p4.dense import P4Dense
from bgp4.p4.linear import P4InvLinear
from bgp4.p4.schedule import P4Report, P4Schedule, determinant_penalty, merge_step, p4_layers
from bgp4.p4.state import (
    P4State,
    SingularMatrixError,
    identity_state,
    matrix_state,
    merge,
    permutation_state,
    recompute,
    refine,
)

__all__ = [
    "P4Dense",
    "P4InvLinear",
    "P4Report",
    "P4Schedule",
    "P4State",
    "SingularMatrixError",
    "determinant_penalty",
    "identity_state",
    "matrix_state",
    "merge",
    "merge_step",
    "p4_layers",
    "permutation_state",
    "recompute",
    "refine",
]
