"""Benchmarks: linear layers, energies, sampling."""
