"""What samples are worth: torsions, metrics, pictures and the report."""
