"""One way from a molecule to an ensemble: propose, simulate, train, sample, judge."""
