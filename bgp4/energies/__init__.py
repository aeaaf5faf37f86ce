"""Reduced energies of molecular conformations."""
