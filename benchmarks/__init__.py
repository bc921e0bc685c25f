"""Long measurements and proofs; each part can be run alone."""
