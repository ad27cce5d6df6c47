"""Kinds of intervention: one file each, named in the configuration by ``kind``."""
