"""What a run hands down to its jobs."""

import os

from pidflow import running


def test_jobs_keep_memory_unless_the_user_says_how(monkeypatch):
    names = list(running.MEMORY)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    running.hand_down("library")
    assert os.environ["PYTHONPATH"].split(os.pathsep) == ["library", "elsewhere"]
    assert {name: os.environ[name] for name in names} == running.MEMORY
    for name in names[1:]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(names[0], "1")
    running.hand_down("library")
    assert os.environ[names[0]] == "1"
    assert names[1] not in os.environ
