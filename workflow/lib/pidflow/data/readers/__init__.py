"""Readers: one file a source of questions; the file's name is what a dataset's ``reader`` says.

A reader has ``Settings``; ``read(settings, *, select, count, seed)``, which gives items; ``folder(settings)``, which
image paths are relative to (None where the items carry their pictures); and ``tables(settings)``, the files it reads.
"""
