"""From Cartesian positions to the standardised variables that the flow learns, and back."""

from bgp4.coordinates.constrained import ConstrainedCoordinates, internal_coordinates
from bgp4.coordinates.internal import InternalCoordinates
from bgp4.coordinates.standardise import Standardise, fit_standardise
from bgp4.molecule.placing import zmatrix_from_bonds, zmatrix_from_topology
from bgp4.molecule.zmatrix import ZMatrix

__all__ = [
    "ConstrainedCoordinates",
    "InternalCoordinates",
    "Standardise",
    "ZMatrix",
    "fit_standardise",
    "internal_coordinates",
    "zmatrix_from_bonds",
    "zmatrix_from_topology",
]
