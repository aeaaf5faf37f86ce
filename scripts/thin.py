"""Keep every n-th frame of a data file, with its energies: thin.py IN.h5 OUT.h5 N."""

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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
