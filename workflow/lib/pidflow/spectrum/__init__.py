"""The information spectrum: what each part of the input alone lets a model predict, and how that decomposes."""
