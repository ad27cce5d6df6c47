"""Pictures of the tables. A figure is a file of this folder; shared code is in the files that start with ``_``.

What a figure file holds
------------------------
``draw(table, …, *, model, …)``, under :func:`pidflow.figures._style.styled`
    Tables of ``results/tables`` by their names in, a matplotlib figure out. Its parameters are the declaration: each
    positional one is a table, each keyword-only one something about the run (:class:`pidflow.figures._registry.Run`).
    ``model`` and ``condition`` stand for one file each per model and condition.
``TITLE``, ``CAPTION``
    What the figure is called in the report, and the text below it there: reStructuredText in which
    ``{{ called.… }}`` gives whatever ``draw`` was given, with titles for ids.
``applies(run, **place)``, optional
    Whether a run has what the figure shows, for a place ``{"model": …, "condition": …}``; always, if there is none.
``choose(run)``, optional
    What ``draw`` is given in place of everything that the run has.
``TARGET``, optional
    The target whose part the figure is: ``figures`` if not said, or ``sweeps``.

Matplotlib and pandas are imported inside functions, because the workflow reads all declarations before it plans.
"""
