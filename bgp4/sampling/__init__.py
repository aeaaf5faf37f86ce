"""Samples of a trained flow, and the weights that make their averages exact."""
