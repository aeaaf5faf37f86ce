"""What chemists ask of an ensemble: free energies, conformers, what is measured."""
