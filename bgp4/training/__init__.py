"""Training a Boltzmann generator by likelihood and by energies."""
