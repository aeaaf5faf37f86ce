"""Molecules with atoms in a line, each with a force field of its own shape.

A structure's line has an atom's element, its position in Å, and those atoms before it to which it
is bonded. Triple bonds and allenes are straight within what three decimals allow.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app

from bgp4.config import SystemConfig
from bgp4.molecule.molecule import Molecule, load_molecule
from bgp4.molecule.topology import bond_graph, bonded_angles
from tests import turning

STRUCTURES = {
    "hex-1-yne": """
        C   3.446    0.494   -0.470
        C   2.371    0.178   -0.039  0
        C   1.055   -0.211    0.492  1
        C  -0.039   -0.018   -0.558  2
        C  -1.413   -0.514   -0.101  3
        C  -1.987    0.276    1.064  4
        H   4.401    0.775   -0.852  0
        H   1.086   -1.260    0.808  2
        H   0.839    0.389    1.382  2
        H   0.235   -0.561   -1.472  3
        H  -0.105    1.042   -0.839  3
        H  -2.107   -0.440   -0.947  4
        H  -1.356   -1.574    0.170  4
        H  -3.006   -0.061    1.281  5
        H  -2.027    1.346    0.833  5
        H  -1.393    0.140    1.973  5
    """,
    "benzonitrile": """
        N   3.590   -0.714   -0.320
        C   2.452   -0.488   -0.290  0
        C   1.047   -0.208   -0.254  1
        C   0.589    1.109   -0.370  2
        C  -0.780    1.380   -0.334  3
        C  -1.694    0.337   -0.183  4
        C  -1.242   -0.978   -0.067  5
        C   0.127   -1.252   -0.102  6 2
        H   1.294    1.930   -0.489  3
        H  -1.135    2.404   -0.425  4
        H  -2.760    0.549   -0.155  5
        H  -1.956   -1.789    0.052  6
        H   0.469   -2.281   -0.010  7
    """,
    "propargylglycine": """
        C   2.864    1.799   -0.887
        C   1.629    0.984   -1.156  0
        O   1.013    1.057   -2.215  1
        N   1.252    0.171   -0.112  1
        C  -0.038   -0.520   -0.162  3
        C  -0.045   -1.808    0.669  4
        C   0.802   -2.855    0.071  5
        C   1.492   -3.711   -0.414  6
        C  -1.092    0.432    0.428  4
        O  -0.840    1.181    1.371  8
        N  -2.347    0.319   -0.137  8
        C  -3.403    1.216    0.262  10
        H   3.414    1.418   -0.021  0
        H   3.522    1.751   -1.759  0
        H   2.575    2.836   -0.698  0
        H   1.550    0.465    0.812  3
        H  -0.288   -0.738   -1.208  4
        H  -1.069   -2.191    0.756  5
        H   0.298   -1.602    1.691  5
        H   2.106   -4.467   -0.847  7
        H  -2.397   -0.062   -1.075  10
        H  -3.202    2.205   -0.158  11
        H  -4.349    0.833   -0.126  11
        H  -3.446    1.286    1.352  11
    """,
    "penta-2,3-diene": """
        C   2.118    0.332    0.327
        C   1.264    0.442   -0.892  0
        C   0.016    0.083   -0.961  1
        C  -1.232   -0.276   -1.028  2
        C  -2.392    0.613   -0.731  3
        H   1.568   -0.092    1.174  0
        H   2.981   -0.308    0.122  0
        H   2.485    1.321    0.617  0
        H   1.732    0.856   -1.780  1
        H  -1.461   -1.297   -1.320  3
        H  -2.984    0.194    0.089  4
        H  -3.036    0.695   -1.612  4
        H  -2.073    1.620   -0.445  4
    """,
    "but-2-yne": """
        C   2.053    0.014   -0.205
        C   0.598    0.004   -0.060  0
        C  -0.598   -0.004    0.060  1
        C  -2.053   -0.014    0.205  2
        H   2.542   -0.175    0.755  0
        H   2.379   -0.757   -0.910  0
        H   2.400    0.983   -0.578  0
        H  -2.540   -0.183   -0.760  3
        H  -2.411    0.940    0.603  3
        H  -2.370   -0.807    0.889  3
    """,
    "hexa-2,4-diyne": """
        C   3.390    0.363    0.696
        C   1.946    0.209    0.530  0
        C   0.761    0.082    0.393  1
        C  -0.761   -0.082    0.217  2
        C  -1.946   -0.209    0.081  3
        C  -3.390   -0.363   -0.086  4
        H   3.772    1.167    0.059  0
        H   3.639    0.607    1.734  0
        H   3.914   -0.559    0.430  0
        H  -3.840   -0.807    0.808  5
        H  -3.617   -1.013   -0.937  5
        H  -3.868    0.605   -0.262  5
    """,
    "methyl isocyanate": """
        C  -0.800   -0.022   -0.026
        N   0.435   -0.759   -0.293  0
        C   1.406   -0.156   -0.032  1
        O   2.373    0.458    0.232  2
        H  -0.897    0.234    1.036  0
        H  -1.656   -0.650   -0.294  0
        H  -0.862    0.895   -0.624  0
    """,
    "methyl azide": """
        C  -0.821   -0.079   -0.042
        N   0.469   -0.710   -0.308  0
        N   1.467   -0.034   -0.002  1
        N   2.378    0.589    0.280  2
        H  -0.941    0.134    1.026  0
        H  -1.625   -0.755   -0.346  0
        H  -0.927    0.853   -0.608  0
    """,
    "cyanoacetylene": """
        N   1.294   -1.474   -1.787
        C   0.705   -0.803   -1.046  0
        C  -0.079    0.090   -0.061  1
        C  -0.689    0.785    0.706  2
        H  -1.231    1.401    1.386  3
    """,
}

NAMES = [name for name in STRUCTURES if name != "cyanoacetylene"]
"""All but the one that is a line as a whole."""


@cache
def structure(name: str) -> tuple[app.Topology, NDArray[np.float64]]:
    """OpenMM's topology, and positions in nm, (atoms, 3)."""
    topology = app.Topology()
    residue = topology.addResidue("LIN", topology.addChain())
    positions = []
    drawn = STRUCTURES | turning.STRUCTURES
    for i, line in enumerate(drawn[name].strip().splitlines()):
        symbol, *numbers = line.split()
        atoms = list(topology.atoms())
        new = topology.addAtom(f"{symbol}{i}", app.Element.getBySymbol(symbol), residue)
        positions.append([float(x) / 10 for x in numbers[:3]])
        for j in numbers[3:]:
            topology.addBond(atoms[int(j)], new)
    return topology, np.array(positions)


def system(name: str) -> openmm.System:
    """Bonds and angles are at their equilibrium, those of a line at 180°; torsions as in ethane,
    also across lines, where they are zero as in force fields; no charges.
    """
    made, positions = structure(name)
    topology = mdtraj.Topology.from_openmm(made)
    frame = mdtraj.Trajectory(positions, topology)
    graph, triples = bond_graph(topology), bonded_angles(topology)
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    torsions, pairs = openmm.PeriodicTorsionForce(), openmm.NonbondedForce()
    for i, j in graph.edges:
        bonds.addBond(i, j, float(np.linalg.norm(positions[i] - positions[j])), 3e5)
    straight = set()
    for triple, angle in zip(triples, mdtraj.compute_angles(frame, triples)[0], strict=True):
        line = angle > np.radians(175)
        straight |= {triple[1]} if line else set()
        angles.addAngle(*triple, np.pi if line else float(angle), 450.0)
    for j, k in graph.edges:
        barrier = 0.0 if straight & {j, k} else 0.65
        for i, m in product(set(graph[j]) - {k}, set(graph[k]) - {j}):
            if i != m:
                torsions.addTorsion(i, j, k, m, 3, 0.0, barrier)
    whole = openmm.System()
    for atom in made.atoms():
        whole.addParticle(atom.element.mass)
        hydrogen = atom.element.symbol == "H"
        pairs.addParticle(0.0, 0.25 if hydrogen else 0.34, 0.066 if hydrogen else 0.36)
    pairs.createExceptionsFromBonds(list(graph.edges), 1.0, 0.5)
    for force in (bonds, angles, torsions, pairs):
        whole.addForce(force)
    return whole


def written(name: str, folder: Path) -> SystemConfig:
    """The structure's and the System's files, and the config that names them."""
    pdb, xml = folder / "linear.pdb", folder / "linear.xml"
    topology, positions = structure(name)
    with pdb.open("w") as file:
        app.PDBFile.writeFile(topology, positions * 10, file, keepIds=True)
    xml.write_text(openmm.XmlSerializer.serialize(system(name)))
    return SystemConfig(pdb=pdb, xml=xml)


def loaded(name: str, folder: Path) -> Molecule:
    return load_molecule(written(name, folder))
