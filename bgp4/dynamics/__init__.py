"""Molecular dynamics and parallel tempering, which make frames."""
