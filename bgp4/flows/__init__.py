"""Normalizing flows: couplings, mixing layers and the model of a run."""
