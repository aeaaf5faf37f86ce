"""bgp4: Boltzmann generators for molecules, from MD frames to weighted samples and a report."""

__version__ = "0.1.0"
