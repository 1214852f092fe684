"""Searches that turn log-probabilities into hypotheses."""
