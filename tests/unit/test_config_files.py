"""A file of the configuration has one meaning and holds no code."""

import subprocess
import sys

import pytest
import yaml

from pidflow.config import reading
from pidflow.config.reading import check, read
from pidflow.errors import ConfigError
from pidflow.provenance import PACKAGE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", "line 2: key 'seed' stands here again, first in line 1"),
        ("pca: {variance: 0.5, variance: 0.9}\n", "line 1: key 'variance' stands here again"),
        ("models:\n  a:\n    layers: 1\n  b: {}\n  a: {}\n", "line 5: key 'a' stands here again, first in line 2"),
        ('{"seed": 1, "seed": 2}', "line 1: key 'seed' stands here again"),
        ("- {run: {tasks: [a], tasks: [b]}}\n", "line 1: key 'tasks'"),
        ("? [a]\n: 1\n", "line 1: a key is a list or a mapping"),
        ("seed: [1\n", "is no plain YAML"),
        ("seed: !!python/tuple [1]\n", "could not determine a constructor"),
        ("seed: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("\tseed: 1\n", "line 1: is no plain YAML"),
        (
            "run:\n\ttasks: []\n",
            "line 2: is no plain YAML (found character '\\t' that cannot start any token); indent with ",
        ),
        ("[" * 5000, "is no plain YAML"),
        ("- seed\n", "holds list, expected keys and values"),
        ("# nothing\n", "holds NoneType, expected keys and values"),
        ("seed\n", "holds str, expected"),
        ("__use_yte__: true\nseed: 1\n", "'__use_yte__' makes Snakemake run what the file holds as Python"),
        ("__use_yte__: false\n", "'__use_yte__'"),
    ],
)
def test_refusals(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check([path])
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_can_be_tried_by_itself(tmp_path):
    """Snakemake reads files first, and names neither file nor line."""
    path = tmp_path / "study.yaml"
    for text, code, said in (("seed: 1\n", 0, ""), ("run:\n\ttasks: []\n", 1, f"{path} line 2: is no plain YAML")):
        path.write_text(text)
        command = [sys.executable, reading.__file__, str(path)]
        done = subprocess.run(command, env={"PYTHONPATH": str(PACKAGE.parent)}, capture_output=True, text=True)
        assert (done.returncode, done.stderr[: len(said)]) == (code, said)


def test_bytes_and_missing_files(tmp_path):
    (tmp_path / "study.yaml").write_bytes(b"seed: \xff\n")
    with pytest.raises(ConfigError, match="is no plain YAML"):
        read(tmp_path / "study.yaml")
    with pytest.raises(ConfigError, match="cannot be read as a file of the configuration"):
        read(tmp_path / "pid")
    with pytest.raises(ConfigError, match="cannot be read as a file of the configuration"):
        read(tmp_path)


def test_anchors_merges_and_json_are_read_as_yaml_reads_them(tmp_path):
    text = "models:\n  a: &a {layers: 1, family: llava}\n  b: {<<: *a, layers: 2}\n  c: {<<: [*a], path: x}\n"
    path = tmp_path / "study.yaml"
    path.write_text(text)
    assert read(path) == yaml.safe_load(text)
    path.write_text('{"seed": 1, "run": {"tasks": []}}')
    assert read(path) == {"seed": 1, "run": {"tasks": []}}
