"""Implicit solvent for a System whose files have no radii for it."""

from __future__ import annotations

import logging
from typing import Any

from bgp4.errors import UserInputError

__all__ = ["add_implicit_solvent"]

log = logging.getLogger(__name__)

NAMES = {
    "HCT": "GBSAHCTForce",
    "OBC1": "GBSAOBC1Force",
    "OBC2": "GBSAOBC2Force",
    "GBn": "GBSAGBnForce",
    "GBn2": "GBSAGBn2Force",
}
"""OpenMM's force of each model."""


def add_implicit_solvent(system: Any, topology: Any, model: str | None, name: str) -> None:
    """Add a generalised Born force, or say that there is none.

    It is the one that OpenMM's `implicit/*.xml` add to any force field: charges are the System's,
    radii and screening follow from elements and bonds, and the surface term is ACE's.

    Args:
        topology: openmm.app's, with an element for each atom.
        model: As in `SystemConfig.implicit_solvent`; None is vacuum.
        name: Of the molecule, for messages.

    Raises:
        UserInputError: If the model has no parameters for an element.
    """
    if model is None:
        log.info("%s: in vacuum; system.implicit_solvent: OBC2 would add implicit water", name)
        return
    import openmm
    from openmm.app.internal import customgbforces

    made = getattr(customgbforces, NAMES[model])
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    try:
        force = made(SA="ACE")
        rows = made.getStandardParameters(topology)
        for atom, row in enumerate(rows):
            force.addParticle([nonbonded.getParticleParameters(atom)[0], *map(float, row)])
        force.finalize()
    except Exception as error:
        raise UserInputError(
            f"config key system.implicit_solvent: {model} cannot be added to {name} ({error}); "
            "set it to null for vacuum"
        ) from error
    nonbonded.setReactionFieldDielectric(1.0)
    system.addForce(force)
    log.info(
        "%s: implicit solvent %s, its radii by elements and bonds; system.implicit_solvent: null "
        "is vacuum",
        *(name, model),
    )
