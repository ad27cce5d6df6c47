"""A long job says now and then how far it is; a short one says nothing."""

import logging

from pidflow.stages import _progress


def test_a_line_every_half_minute(monkeypatch, caplog):
    clock = iter([0.0, 10.0, 31.0, 45.0, 62.0])
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO)
    with _progress.progress_of(100, done=20, shown=False) as progress:
        for _ in range(4):
            progress.update(10)
    assert [record.getMessage() for record in caplog.records] == [
        "40 of 100 items done, 2 min left",  # 20 in 31 s, 60 are left
        "60 of 100 items done, 1 min left",
    ]
