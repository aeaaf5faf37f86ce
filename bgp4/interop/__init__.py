"""Other libraries' flows and energies beside ours, one module each; none is a dependency."""
