"""Frames that a flow learns from: trajectories, or conformations made from energies."""
