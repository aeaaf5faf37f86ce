"""Files that are whole or not there, locks, HDF5, and what comes with the package."""
