"""OpenMM's forces one by one, by the expressions that its readers write, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from openmm import app
from openmm.app.internal import customgbforces

from bgp4.energies.batched import energies_and_forces, in_place
from bgp4.energies.forcefield import read_force_field
from bgp4.energies.potential import Potential
from bgp4.energies.terms import ForceField, UnsupportedForce
from bgp4.kernels.gpu import has_triton
from tests.interpreter import interpret_triton

ATOMS = 8
PI = 3.141592653589793
RANDOM = np.random.default_rng(7)
LENGTHS, ANGLES = RANDOM.uniform(0.1, 0.3, 20), RANDOM.uniform(-3.1, 3.1, 20)
TABLE = RANDOM.uniform(0.1, 1, (3, 3))
TABLE = (TABLE + TABLE.T).ravel()


def chain(n: int = 60) -> np.ndarray:
    """Conformations of a chain of atoms that are nowhere on top of each other; two are planar."""
    steps = np.random.default_rng(1).normal(0, 0.03, (n, ATOMS, 3))
    steps[:, :, 0] += 0.12
    steps[:, ::2, 1] += 0.08
    steps[:, 1::2, 1] -= 0.08
    steps[:2, :, 2] = 0.0
    return steps.cumsum(1)


def agree(system: openmm.System, positions: np.ndarray, plain_openmm: Callable) -> np.ndarray:
    """Both engines against OpenMM and each other; the energies, kJ/mol."""
    xml = openmm.XmlSerializer.serialize(system)
    expected, forces = plain_openmm(xml, positions)
    terms = read_force_field(xml)
    torch_energy, torch_forces = Potential(terms).evaluate(positions)
    np.testing.assert_allclose(torch_energy, expected, rtol=1e-9, atol=1e-3)
    np.testing.assert_allclose(torch_forces, forces, rtol=1e-6, atol=1e-2)
    energy, kernel_forces = energies_and_forces(terms, torch.float64)(positions)
    np.testing.assert_allclose(energy, torch_energy, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(kernel_forces, torch_forces, rtol=1e-7, atol=1e-5)
    single, single_forces = energies_and_forces(terms, torch.float32)(positions)
    np.testing.assert_allclose(single, energy, rtol=1e-5, atol=1e-2)
    np.testing.assert_allclose(single_forces, kernel_forces, rtol=0, atol=1e-4 * np.ptp(forces))
    if has_triton() and os.environ.get("TRITON_INTERPRET") == "1":
        as_on_a_gpu(terms, positions[:4], energy[:4], kernel_forces[:4])
    return expected


def as_on_a_gpu(
    terms: ForceField, positions: np.ndarray, energy: np.ndarray, forces: np.ndarray
) -> None:
    """Triton's kernels, interpreted."""
    with pytest.MonkeyPatch.context() as patch:
        interpret_triton(patch)
        evaluate = in_place(terms, torch.float64, torch.device("cpu"))
        made = evaluate(torch.as_tensor(positions))
    np.testing.assert_allclose(made[0].numpy(), energy, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(made[1].numpy(), forces, rtol=1e-7, atol=1e-5)


def system(*forces: openmm.Force) -> openmm.System:
    made = openmm.System()
    for _ in range(ATOMS):
        made.addParticle(12.0)
    for force in forces:
        made.addForce(force)
    return made


def bonds(force: Any = None) -> Any:
    force = force or openmm.HarmonicBondForce()
    for i in range(ATOMS - 1):
        force.addBond(i, i + 1, LENGTHS[i], 1e3 * (i + 1))
    return force


def urey_bradley() -> openmm.HarmonicBondForce:
    force = openmm.HarmonicBondForce()
    for i in range(ATOMS - 2):
        force.addBond(i, i + 2, LENGTHS[-i], 500.0)
    return force


def angles() -> openmm.HarmonicAngleForce:
    force = openmm.HarmonicAngleForce()
    for i in range(ATOMS - 2):
        force.addAngle(i, i + 1, i + 2, abs(ANGLES[i]), 100.0 + i)
    return force


def periodic(shift: float = 0.3) -> openmm.PeriodicTorsionForce:
    force = openmm.PeriodicTorsionForce()
    for i in range(ATOMS - 3):
        force.addTorsion(i, i + 1, i + 2, i + 3, 1 + i % 4, shift * i, 5.0 + i)
    return force


def ryckaert_bellemans() -> openmm.RBTorsionForce:
    force = openmm.RBTorsionForce()
    for i in range(ATOMS - 3):
        force.addTorsion(i, i + 1, i + 2, i + 3, *(10 * ANGLES[i : i + 6]))
    return force


def cmap(*sizes: int) -> openmm.CMAPTorsionForce:
    """Rough maps, of which the last is not used."""
    force = openmm.CMAPTorsionForce()
    for size in (*sizes, 3):
        force.addMap(size, 10 * np.random.default_rng(size).normal(size=size * size))
    for i in range(ATOMS - 4):
        force.addTorsion(i % len(sizes), i, i + 1, i + 2, i + 3, i + 1, i + 2, i + 3, i + 4)
    return force


def custom(kind: str, n: int, expression: str, **columns: Any) -> Any:
    """A custom force of neighbours; parameters as columns."""
    force = getattr(openmm, f"Custom{kind}Force")(expression)
    for name in columns:
        getattr(force, f"addPer{kind}Parameter")(name)
    for i in range(ATOMS - n + 1):
        values = [float(column[i]) for column in columns.values()]
        getattr(force, f"add{kind}")(*range(i, i + n), values)
    return force


def pairs(expression: str, tables: tuple[str, ...] = (), **columns: Any) -> Any:
    force = openmm.CustomNonbondedForce(expression)
    for name in columns:
        force.addPerParticleParameter(name)
    for i in range(ATOMS):
        force.addParticle([float(column[i]) for column in columns.values()])
    for name in tables:
        scale = 1e-4 if name == "acoef" else 1e-3
        force.addTabulatedFunction(name, openmm.Discrete2DFunction(3, 3, scale * TABLE))
    for i in range(ATOMS - 1):
        force.addExclusion(i + 1, i)
    return force


def nonbonded(charge: float = 0.3, **settings: Any) -> openmm.NonbondedForce:
    force = openmm.NonbondedForce()
    for i in range(ATOMS):
        force.addParticle(charge * (-1) ** i, 0.1 + 0.01 * i, 0.2)
    for i in range(ATOMS - 1):
        force.addException(i + 1, i, 0.01, 0.1, 0.1 * (i % 2))
    for name, value in settings.items():
        getattr(force, f"set{name}")(value)
    return force


def born(charge: float = 0.3, **settings: Any) -> openmm.GBSAOBCForce:
    force = openmm.GBSAOBCForce()
    for i in range(ATOMS):
        force.addParticle(charge * (-1) ** i, 0.13 + 0.01 * i, 0.8)
    for name, value in settings.items():
        getattr(force, f"set{name}")(value)
    return force


def amber_gb(model: str, **settings: Any) -> openmm.CustomGBForce:
    """One of `openmm.app`'s; an atom's screen is negative, as that of GBn2's sulfur."""
    force = getattr(customgbforces, f"GBSA{model}Force")(**settings)
    for i in range(ATOMS):
        screen = -0.7 if i == 2 else 0.6 + 0.05 * i
        extra = [0.5 + 0.05 * i, 0.3 + 0.1 * i, 0.2 + 0.05 * i] if model == "GBn2" else []
        force.addParticle([0.2 * (-1) ** i, 0.12 + 0.01 * i, screen, *extra])
    force.finalize()
    return force


TYPES = [0, 1, 2, 1, 0, 2, 2, 1]
WRAPPED = {
    "CharmmPsfFile": "k*min(dtheta, 2*pi-dtheta)^2; dtheta = abs(theta-theta0);pi = 3.141593;",
    "chamber": f"k*min(dtheta, 2*{PI}-dtheta)^2; dtheta = abs(theta-theta0)",
    "GROMACS": "0.5*k*(thetap-theta0)^2; thetap = step(-(theta-theta0+pi))*2*pi+theta"
    f"+step(theta-theta0-pi)*(-2*pi); pi = {PI:.15g}",
    "charmm36.xml": "k*(theta-theta0)^2",
    "in another order": f"2.5 * k*min( dtheta,2*pi-dtheta )^2; pi={PI}; dtheta=abs(theta-theta0)",
}
LENNARD_JONES = {
    "CharmmPsfFile": "(a/r6)^2-b/r6; r6=r^6;a=acoef(type1, type2);b=bcoef(type1, type2)",
    "ForceField": "acoef(type1, type2)/r^12 - bcoef(type1, type2)/r^6;",
}
FORCES: dict[str, Callable[[], list[Any]]] = {
    "two forces of bonds": lambda: [bonds(), urey_bradley()],
    "three forces of a kind": lambda: [
        periodic(),
        periodic(0.7),
        periodic(-0.2),
        angles(),
        angles(),
    ],
    "Ryckaert-Bellemans": lambda: [ryckaert_bellemans()],
    "both kinds of torsions": lambda: [periodic(), ryckaert_bellemans(), ryckaert_bellemans()],
    "CMAP": lambda: [cmap(24)],
    "CMAP of several sizes": lambda: [cmap(5, 24, 8), cmap(6)],
    **{
        f"impropers, {name}": lambda e=expression: [
            custom("Torsion", 4, e, theta0=ANGLES, k=100 * LENGTHS)
        ]
        for name, expression in WRAPPED.items()
    },
    "custom bonds": lambda: [custom("Bond", 2, "0.5*k*(r-r0)^2", r0=LENGTHS, k=1e4 * LENGTHS)],
    "a restraint": lambda: [custom("Bond", 2, "1000*(r-0.15)^2")],
    "custom angles": lambda: [custom("Angle", 3, "k*(theta-t)^2", k=100 * LENGTHS, t=abs(ANGLES))],
    **{
        f"Lennard-Jones by types, {name}": lambda e=expression: [
            pairs(e, ("acoef", "bcoef"), type=TYPES)
        ]
        for name, expression in LENNARD_JONES.items()
    },
    "Lennard-Jones, GROMACS, rule 3": lambda: [
        pairs("A1*A2/r^12-C1*C2/r^6", C=0.01 * LENGTHS, A=1e-4 * LENGTHS)
    ],
    "Lennard-Jones, OPLS": lambda: [
        pairs(
            "4*epsilon*((sigma/r)^12-(sigma/r)^6); sigma=sqrt(sigma1*sigma2);"
            "epsilon=sqrt(epsilon1*epsilon2)",
            sigma=LENGTHS,
            epsilon=LENGTHS,
        )
    ],
    "1-4, ForceField": lambda: [
        custom("Bond", 2, "4*epsilon*((sigma/r)^12-(sigma/r)^6)", sigma=LENGTHS, epsilon=LENGTHS)
    ],
    "1-4, GROMACS": lambda: [
        custom("Bond", 2, "-C/r^6+A/r^12", C=1e-5 * LENGTHS, A=1e-8 * LENGTHS)
    ],
    "signs and powers": lambda: [
        custom("Bond", 2, "-q^2/r+2^-1*q^2/r^6-(-q*r^(-6))+1e-3*(q/r^3)^2", q=0.1 * ANGLES)
    ],
    "definitions that hide names": lambda: [
        custom("Bond", 2, "a*r;a=b;r=1/r;b=2*q;q=q*c;c=3", q=0.1 * ANGLES)
    ],
    "nonbonded with NBFIX and 1-4": lambda: [
        pairs(LENNARD_JONES["CharmmPsfFile"], ("acoef", "bcoef"), type=TYPES),
        nonbonded(),
        custom("Bond", 2, "138.935456*q/r - (s/r)^6", s=LENGTHS, q=0.1 * ANGLES),
    ],
    "two nonbonded forces": lambda: [nonbonded(), nonbonded(0.1)],
    "charges of solvation other than those in vacuum": lambda: [born(0.2), nonbonded()],
    "HCT": lambda: [amber_gb("HCT", SA="ACE")],
    "OBC1": lambda: [amber_gb("OBC1")],
    "OBC2": lambda: [amber_gb("OBC2", SA="ACE", solventDielectric=40.0, soluteDielectric=2.0)],
    "GBn": lambda: [amber_gb("GBn", SA="ACE"), nonbonded()],
    "GBn2": lambda: [amber_gb("GBn2", SA="ACE"), nonbonded()],
    "GBn2 without surface": lambda: [amber_gb("GBn2")],
    "all together": lambda: [
        *(cmap(24), bonds(), urey_bradley(), angles(), periodic(), ryckaert_bellemans()),
        *(nonbonded(), amber_gb("GBn2"), openmm.CMMotionRemover()),
        custom("Torsion", 4, WRAPPED["CharmmPsfFile"], k=100 * LENGTHS, theta0=ANGLES),
        pairs(LENNARD_JONES["ForceField"], ("acoef", "bcoef"), type=TYPES),
    ],
}


@pytest.mark.parametrize("name", FORCES)
def test_forces_against_openmm(name: str, plain_openmm) -> None:
    energies = agree(system(*FORCES[name]()), chain(), plain_openmm)
    assert np.ptp(energies) > 0.5


def test_the_order_of_forces_does_not_matter(plain_openmm) -> None:
    energies = []
    for seed in range(3):
        made = FORCES["all together"]()
        np.random.default_rng(seed).shuffle(made)
        energies.append(agree(system(*made), chain(4), plain_openmm))
    np.testing.assert_allclose(energies, energies[:1] * 3, rtol=1e-12)


def test_a_neck_ends_at_its_cutoff(plain_openmm) -> None:
    """And nothing overflows where atoms are nanometers apart."""
    positions = np.concatenate([chain(3) * scale for scale in (2.0, 3.0, 5.0, 50.0)])
    agree(system(amber_gb("GBn2")), positions, plain_openmm)


def psf() -> str:
    """A chain of atoms of types A and B, with each of the sections that CHARMM has."""
    n = ATOMS

    def section(name: str, first: int, length: int, per_line: int) -> str:
        terms = [range(i, i + length) for i in range(first, n - length + 2)]
        lines = [terms[k : k + per_line] for k in range(0, len(terms), per_line)]
        text = "".join(
            "".join(f"{atom:8d}" for term in line for atom in term) + "\n" for line in lines
        )
        return f"{len(terms):8d} !{name}\n{text}\n"

    atoms = "".join(
        f"{i:8d} S    1    ALA  {'AB'[i % 2]}{i:<4d} {'AB'[i % 2]:4s} {0.2 * (-1) ** i:14.6f}"
        f"{12.0:14.4f}{0:12d}\n"
        for i in range(1, n + 1)
    )
    maps = [[*range(i, i + 4), *range(i + 1, i + 5)] for i in range(1, n - 3)]
    crossterms = "".join("".join(f"{a:8d}" for a in term) + "\n" for term in maps)
    return (
        f"PSF CMAP\n\n{1:8d} !NTITLE\n* A CHAIN\n\n{n:8d} !NATOM\n{atoms}\n"
        + section("NBOND: bonds", 1, 2, 4)
        + section("NTHETA: angles", 1, 3, 3)
        + section("NPHI: dihedrals", 1, 4, 2)
        + section("NIMPHI: impropers", 1, 4, 2)
        + "".join(f"{0:8d} !{name}\n\n\n" for name in ("NDON: donors", "NACC: acceptors", "NNB"))
        + f"{0:8d}{0:8d} !NGRP NST2\n\n{len(maps):8d} !NCRTERM: cross-terms\n{crossterms}\n"
    )


def parameters() -> str:
    """Of the chain, with Urey-Bradley terms, a map, 1-4 terms and an NBFIX."""
    size = 8
    values = np.random.default_rng(3).normal(size=(size, size))
    grid = "".join(" ".join(f"{v:9.5f}" for v in row) + "\n" for row in values)
    angle = "100.0 25.0 2.4"
    return f"""* PARAMETERS
*
ATOMS
MASS 1 A 12.0
MASS 2 B 12.0
BONDS
A B 300.0 1.4
ANGLES
A B A 50.0 {angle}
B A B 40.0 {angle}
DIHEDRALS
A B A B 1.5 1 30.0
A B A B 0.5 3 180.0
IMPROPER
A B A B 20.0 0 35.0
CMAP
A B A B B A B A {size}
{grid}
B A B A A B A B {size}
{grid}
NONBONDED nbxmod 5 atom cdiel fshift vatom vdistance vfswitch cutnb 14.0 ctofnb 12.0 ctonnb 10.0
A 0.0 -0.11 1.0 0.0 -0.05 0.9
B 0.0 -0.06 0.9
NBFIX
A B -0.2 2.1
END
"""


def test_a_psf_file_with_urey_bradley_cmap_and_nbfix(tmp_path, plain_openmm) -> None:
    (tmp_path / "chain.psf").write_text(psf())
    (tmp_path / "chain.prm").write_text(parameters())
    file = app.CharmmPsfFile(str(tmp_path / "chain.psf"))
    made = file.createSystem(
        app.CharmmParameterSet(str(tmp_path / "chain.prm")), implicitSolvent=app.GBn2
    )
    kinds = {type(force).__name__ for force in made.getForces()}
    assert kinds >= {"CMAPTorsionForce", "CustomTorsionForce", "CustomNonbondedForce"}
    agree(made, chain(), plain_openmm)


TOPOLOGY = """[ defaults ]
1 {rule} yes 0.5 0.8333
[ atomtypes ]
A A 6 12.0 0.0 A {a}
B B 6 12.0 0.0 A {b}
{nonbond}
[ moleculetype ]
chain 3
[ atoms ]
{atoms}
[ bonds ]
{bonds}
[ pairs ]
{pairs}
[ angles ]
{angles}
[ dihedrals ]
{torsions}
[ system ]
chain
[ molecules ]
chain 1
"""


@pytest.mark.parametrize(
    ("rule", "a", "b", "nonbond"),
    [
        ("1", "1e-3 1e-6", "2e-3 1e-6", ""),
        ("2", "0.2 0.3", "0.15 0.2", ""),
        ("2", "0.2 0.3", "0.15 0.2", "[ nonbond_params ]\nA B 1 0.18 0.5"),
        ("3", "0.2 0.3", "0.15 0.2", ""),
    ],
    ids=["rule 1", "rule 2", "NBFIX", "rule 3, OPLS"],
)
def test_a_gromacs_topology(rule, a, b, nonbond, tmp_path, plain_openmm) -> None:
    """All combining rules, Urey-Bradley angles, and torsions of types 1, 2, 3 and 5."""

    def lines(length: int, *ends: str) -> str:
        starts = range(1, ATOMS - length + 2)
        terms = [(" ".join(map(str, range(i, i + length))), end) for i in starts for end in ends]
        return "\n".join(" ".join(term) for term in terms)

    text = TOPOLOGY.format(
        **{"rule": rule, "a": a, "b": b, "nonbond": nonbond},
        atoms="\n".join(
            f"{i} {'AB'[i % 2]} 1 RES X{i} {i} {0.2 * (-1) ** i} 12.0" for i in range(1, ATOMS + 1)
        ),
        bonds=lines(2, "1 0.14 2e5"),
        pairs="\n".join(f"{i} {i + 3} 1" for i in range(1, ATOMS - 2)),
        angles=lines(3, "5 110 400 0.24 9000"),
        torsions=lines(
            4, "1 20 2.5 3", "2 30 40", "3 1.0 -2.0 3.0 0.5 -1.5 0.7", "5 1.0 2.0 -1.0 0.5 0"
        ),
    )
    (tmp_path / "chain.top").write_text(text)
    made = app.GromacsTopFile(str(tmp_path / "chain.top")).createSystem()
    agree(made, chain(), plain_openmm)


def test_what_is_not_finite_stays_by_itself() -> None:
    """Also where an angle says which numbers of a map to read."""
    made = system(*FORCES["all together"]())
    terms = read_force_field(openmm.XmlSerializer.serialize(made))
    positions = chain(4)
    expected, _ = energies_and_forces(terms, torch.float64)(positions)
    positions[1, 3, 0], positions[2, 2] = np.nan, positions[2, 3]
    for function in (energies_and_forces(terms, torch.float64), Potential(terms).evaluate):
        energy, forces = function(positions)
        assert not (np.isfinite(energy) & np.isfinite(forces).all(axis=(1, 2)))[1:3].any()
        np.testing.assert_allclose(energy[[0, 3]], expected[[0, 3]], rtol=1e-12)


def with_offsets() -> openmm.NonbondedForce:
    force = nonbonded()
    force.addGlobalParameter("scale", 1.0)
    force.addParticleParameterOffset("scale", 0, 0.5, 0.0, 0.0)
    return force


def in_groups() -> openmm.CustomNonbondedForce:
    force = pairs("1/r^12")
    force.addInteractionGroup([0], [1, 2])
    return force


def other_gb() -> openmm.CustomGBForce:
    force = amber_gb("OBC2")
    (expression, kind) = force.getEnergyTermParameters(0)
    force.setEnergyTermParameters(0, expression.replace("-0.5*", "-0.6*"), kind)
    return force


NO_CUTOFF, CUTOFF = openmm.NonbondedForce.NoCutoff, openmm.NonbondedForce.CutoffNonPeriodic
UNSUPPORTED: dict[str, Callable[[], Any]] = {
    "NonbondedForce with a cutoff": lambda: nonbonded(NonbondedMethod=CUTOFF),
    "NonbondedForce with parameter offsets": with_offsets,
    "CustomNonbondedForce with the energy 1/r^4": lambda: pairs("1/r^4"),
    "CustomNonbondedForce with the energy exp(-r)": lambda: pairs("exp(-r)"),
    "CustomNonbondedForce with the energy min(1/r,1/r^6)": lambda: pairs("min(1/r,1/r^6)"),
    "CustomNonbondedForce with interaction groups": in_groups,
    "CustomBondForce with the energy 2*(r-0.1)^4": lambda: custom("Bond", 2, "2*(r-0.1)^4"),
    "CustomBondForce with the energy r*(r-0.1)^2": lambda: custom("Bond", 2, "r*(r-0.1)^2"),
    "CustomAngleForce with the energy (cos(theta)-0.5)^2": lambda: custom(
        "Angle", 3, "(cos(theta)-0.5)^2"
    ),
    "CustomTorsionForce with the energy k*(1-cos(theta))": lambda: custom(
        "Torsion", 4, "k*(1-cos(theta))", k=LENGTHS
    ),
    "CustomTorsionForce with the energy k*min(d,6-d)^2; d=abs(theta-1)": lambda: custom(
        "Torsion", 4, "k*min(d,6-d)^2; d=abs(theta-1)", k=LENGTHS
    ),
    "GBSAOBCForce with a cutoff": lambda: born(
        NonbondedMethod=openmm.GBSAOBCForce.CutoffNonPeriodic
    ),
    "CustomGBForce with salt (kappa)": lambda: amber_gb("GBn2", kappa=1.0),
    "CustomGBForce other than HCT, OBC1, OBC2, GBn and GBn2": other_gb,
    "CustomExternalForce": lambda: openmm.CustomExternalForce("x^2"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_other_forces_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedForce) as refused:
        read_force_field(openmm.XmlSerializer.serialize(system(bonds(), UNSUPPORTED[name]())))
    assert str(refused.value) == name


def test_all_that_is_unknown_is_named() -> None:
    names = list(UNSUPPORTED)
    made = [UNSUPPORTED[name]() for name in names]
    with pytest.raises(UnsupportedForce) as refused:
        read_force_field(openmm.XmlSerializer.serialize(system(*made, UNSUPPORTED[names[0]]())))
    assert refused.value.names == tuple(names)
    assert str(refused.value) == ", ".join(names)
    with pytest.raises(UnsupportedForce, match="a second solvation force"):
        read_force_field(openmm.XmlSerializer.serialize(system(born(), amber_gb("GBn2"))))
