"""Partial information decomposition: closed forms, estimators, results."""
