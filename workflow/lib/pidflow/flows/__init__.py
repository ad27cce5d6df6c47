"""Normalizing flows that make rows Gaussian, and what comes before them."""
