"""Readers: one file a source of questions; the file's name is what a dataset's ``reader`` names.

A reader has ``Settings``; ``read(settings, *, select, count, seed)``, which gives a
:class:`~pidflow.data.items.Reading`; ``folder(settings)``, which
image paths are relative to (None where the items carry their pictures); ``tables(settings)``, the files it reads; and
``PLACES``, the settings that only say where these lie (none if left out).
"""
