"""A molecule: read, checked, and described by its topology and Z-matrix."""
