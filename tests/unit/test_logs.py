"""A job's log holds the whole story; stderr holds one sentence for the user."""

import logging

import pytest

from pidflow.errors import DataError
from pidflow.logs import job_log


def test_messages_reach_file_and_stderr(tmp_path, capsys):
    with job_log(tmp_path / "deep" / "job.log"):
        logging.getLogger("pidflow.test").info("reading %d rows", 7)
        logging.getLogger("pidflow.test").debug("row %d", 3)
        logging.getLogger("another").debug("a library's inner life")
    whole, shown = (tmp_path / "deep" / "job.log").read_text(), capsys.readouterr().err
    assert "reading 7 rows" in whole
    assert "reading 7 rows" in shown
    assert "row 3" in whole
    assert "row 3" not in shown, "details are for the file"
    assert "inner life" not in whole + shown


def test_a_user_error_is_one_sentence_on_stderr_and_a_traceback_in_the_file(tmp_path, capsys):
    with pytest.raises(SystemExit) as left, job_log(tmp_path / "job.log"):
        raise DataError("items.parquet has no rows; check select")
    assert left.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("ERROR pidflow: items.parquet has no rows; check select")
    assert "Traceback" in (tmp_path / "job.log").read_text()
    assert (tmp_path / "job.log").read_text().splitlines()[-1].endswith("items.parquet has no rows; check select")


def test_a_defect_shows_its_traceback_everywhere(tmp_path, capsys):
    with pytest.raises(SystemExit), job_log(tmp_path / "job.log"):
        raise KeyError("surprise")
    assert "Traceback" in capsys.readouterr().err
    assert "KeyError: 'surprise'" in (tmp_path / "job.log").read_text()


def test_handlers_are_taken_away_again(tmp_path):
    before = list(logging.getLogger().handlers)
    with job_log(tmp_path / "job.log"):
        assert len(logging.getLogger().handlers) == len(before) + 2
    assert logging.getLogger().handlers == before
