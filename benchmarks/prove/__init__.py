"""The long proofs: ``make prove`` runs them all and writes a dated report."""
