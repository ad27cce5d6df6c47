"""Estimators: how rows are made Gaussian before they are decomposed. One file each, called by its name."""
