"""Keep every n-th frame of a data file, with energies and provenance: thin.py IN.h5 OUT.h5 N."""

import sys

from mdtraj.formats import HDF5TrajectoryFile


def main(source: str, target: str, stride: int) -> None:
    with HDF5TrajectoryFile(source) as file, HDF5TrajectoryFile(target, "w") as thinned:
        frames = file.read(stride=stride)
        thinned.topology = file.topology
        thinned.title = file.title
        thinned.application = file.application
        thinned.write(
            coordinates=frames.coordinates,
            time=frames.time,
            potentialEnergy=frames.potentialEnergy,
            temperature=frames.temperature,
        )
        attributes = file._handle.root.bgp4._v_attrs
        attributes._f_copy(thinned._handle.create_group("/", "bgp4"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
