"""Weights, free energies, distributions and verdicts: statistics of samples and frames."""
