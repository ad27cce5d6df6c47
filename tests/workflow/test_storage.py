"""The small study with its results in S3, its first jobs also in pods; the server and the pods are of this machine.

`make test-clusters` installs what this needs.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from tests import pods, small_study

from pidflow.running import WAITING

ROOT = Path(__file__).resolve().parents[2]
LACKING = [name for name in ("snakemake_storage_plugin_s3", "moto", "flask") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"no {', '.join(LACKING)}: make test-clusters installs them")
NO_PODS = find_spec("snakemake_executor_plugin_kubernetes") is None
BUCKET = "s3://test-bucket/some/folder"
CUT = "image-question"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Where an S3 server listens, and what a program needs to speak with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with open(tmp_path_factory.mktemp("moto") / "log", "w") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log
        )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        started.terminate()
        started.wait()


def of_server(url):
    keys = {"ACCESS_KEY": "test", "SECRET_KEY": "test", "ENDPOINT_URL": url}
    return os.environ | {f"SNAKEMAKE_STORAGE_S3_{name}": value for name, value in keys.items()}


@pytest.fixture(scope="module")
def stored(server, tmp_path_factory, snakemake):
    """A folder whose study was run into the server, and how to run more there."""
    work = small_study.make(tmp_path_factory.mktemp("stored") / "work")

    def run(*arguments, **settings):
        profile = ("--profile", str(ROOT / "profiles/s3"), "--default-storage-prefix", BUCKET)
        return snakemake(
            *arguments,
            *profile,
            "--configfile",
            "study.yaml",
            cwd=work,
            env=of_server(server),
            timeout=1800,
            **settings,
        )

    run(*small_study.TARGETS)
    return work, run, server


def objects(url, place=BUCKET):
    """Everything below a place in the server, names as they are below results/."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    bucket, folder = place.removeprefix("s3://").split("/", 1)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/results/")
    names = [each["Key"] for page in pages for each in page.get("Contents", [])]
    return {Path(name).relative_to(folder): client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}


def test_results_are_those_of_a_local_run_bit_by_bit(stored, undisturbed):
    *_, url = stored
    found = {path: content for path, content in objects(url).items() if path.parts[1] not in ("logs", "benchmarks")}
    assert small_study.differing(found, undisturbed) == []


def test_logs_and_benchmarks_are_stored_too(stored):
    *_, url = stored
    kinds = {path.parts[1] for path in objects(url)}
    assert {"logs", "benchmarks"} <= kinds


def test_what_jobs_leave_for_others_is_taken_from_local_copies_and_never_stored(stored):
    work, _, url = stored
    assert not (work / "results").exists() or small_study.contents(work) == {}
    assert not [path for path in objects(url) if WAITING in path.parts]
    log = objects(url)[Path(f"results/logs/extract_activations/tiny/{small_study.TASK}/{CUT}.log")]
    assert b"taken from there" in log
    assert not [path for path in work.rglob(f"{WAITING}/*") if CUT in path.name]


def test_then_nothing_is_to_be_done_even_without_local_copies(stored):
    work, run, _ = stored
    shutil.rmtree(work / ".snakemake/storage")
    done = run(*small_study.TARGETS, "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_file_that_the_configuration_names_is_read_from_this_machine(server, tmp_path, snakemake, imported):
    place, target = f"{BUCKET}-of-imports", "results/predictions/theirs/mmbench.h5"
    settings = ("--profile", str(ROOT / "profiles/s3"), "--default-storage-prefix", place, "--configfile", imported)
    snakemake(target, *map(str, settings), cwd=tmp_path, env=of_server(server))
    assert Path(target) in objects(server, place)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of the repository with the study inside: pods get the files that git knows, and nothing else."""
    folder = tmp_path_factory.mktemp("clone") / "pidflow"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if not name.startswith(("docs/", "tests/", "workflow/resources/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    study = small_study.make(folder / "study")
    settings = yaml.safe_load((study / "study.yaml").read_text())
    settings["models"]["tiny"]["path"] = "study/tiny"
    (study / "study.yaml").write_text(yaml.safe_dump(settings))
    for command in (["init", "-q"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def in_pods(*arguments):
    profiles = [("--profile", str(ROOT / "profiles" / name)) for name in ("cluster", "s3", "kubernetes")]
    chosen = ("--default-storage-prefix", f"{BUCKET}-of-pods", "--configfile", "study/study.yaml")
    return (*arguments, *(word for pair in profiles for word in pair), *chosen)


@pytest.mark.skipif(NO_PODS, reason="no executor plug-in: make test-clusters installs it")
def test_pods_are_planned_with_what_jobs_need(server, clone, snakemake):
    """Kubernetes by a dry run: limits, GPU and storage of every job."""
    done = snakemake(*in_pods("--dry-run", *small_study.TARGETS), cwd=clone, root=clone, env=of_server(server))
    planned = re.findall(r"^ *rule (\w+):\n(?:.*\n)*?.*resources: (.*)$", done.stdout + done.stderr, flags=re.MULTILINE)
    asked = {rule: dict(re.findall(r"(\w+)=(\w+)", resources)) for rule, resources in planned}
    assert {"prepare_items", "extract_activations", "train_flow", "collect_pid"} <= set(asked)
    assert all(each["scale"] == "0" and each["gpu_manufacturer"] == "nvidia" for each in asked.values())
    assert asked["extract_activations"]["gpu"] == "1"
    assert asked["extract_activations"]["mem_mb"] == "32000"
    assert "gpu" not in asked["train_flow"]
    needed = re.findall(r"^ *rule extract_\w+:\n *input: (.*)$", done.stdout + done.stderr, flags=re.MULTILINE)
    assert len(needed) == 4
    assert not [files for files in needed if small_study.ANSWERS in files], "a condition waits for the intact one"


@pytest.mark.skipif(NO_PODS, reason="no executor plug-in: make test-clusters installs it")
def test_a_pod_needs_nothing_but_the_bucket(server, clone, undisturbed, tmp_path, snakemake):
    """The first two jobs, each in an empty folder: sources, inputs and outputs all go through the storage."""
    with pods.serving(tmp_path / "cluster") as (cluster, kubeconfig):
        done = snakemake(
            *in_pods(small_study.ANSWERS, "--seconds-between-status-checks", "2"),
            cwd=clone,
            root=clone,
            env=of_server(server) | {"KUBECONFIG": str(kubeconfig)},
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, done.stderr + cluster.logs()
    found = {path: data for path, data in objects(server, f"{BUCKET}-of-pods").items() if path in undisturbed}
    assert Path(small_study.ANSWERS) in found
    assert [str(path) for path, content in found.items() if content != undisturbed[path]] == []
    limits = [job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] for job in cluster.jobs.values()]
    assert [each.get("nvidia.com/gpu") for each in limits] == [None, "1"]
    assert [each["memory"] for each in limits] == ["4000M", "32000M"]
