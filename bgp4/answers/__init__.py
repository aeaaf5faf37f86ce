"""What chemists ask of an ensemble: each answer with its error."""
