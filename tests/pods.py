"""A Kubernetes as far as Snakemake's executor plug-in speaks with it; its pods are processes of this machine.

A pod shares nothing: it begins in an empty folder, without the environment of the tests, with what the job says and the
secrets that it names. Its image has the Python of the tests and nothing to be installed by pip.
"""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class Cluster:
    """Secrets, jobs as they were asked for, and the processes that they became."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secrets, self.jobs, self.pods = folder, {}, {}, {}
        (folder / "bin").mkdir(parents=True)
        for name, command in {"python": f'exec {sys.executable} "$@"', "pip": "exit 0"}.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/sh\n{command}\n")
            program.chmod(0o755)

    def start(self, job: dict[str, Any]) -> None:
        name, [container] = job["metadata"]["name"], job["spec"]["template"]["spec"]["containers"]
        workdir = self.folder / name
        (workdir / "home").mkdir(parents=True)
        environment = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(workdir / "home")}
        for variable in container["env"]:
            source = variable["valueFrom"]["secretKeyRef"]
            environment[variable["name"]] = base64.b64decode(self.secrets[source["name"]][source["key"]]).decode()
        with open(self.folder / f"{name}.log", "w") as log:
            self.pods[name] = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=workdir,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.jobs[name] = job

    def status(self, name: str) -> dict[str, int]:
        end = self.pods[name].poll()
        return {"active": 1} if end is None else {"succeeded" if end == 0 else "failed": 1}

    def logs(self) -> str:
        """What all pods said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """A cluster, and the file that tells programs where it is."""
    cluster = Cluster(folder)

    class Handler(BaseHTTPRequestHandler):
        def answer(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/secrets"):
                cluster.secrets[content["metadata"]["name"]] = content["data"]
            else:
                cluster.start(content)
            self.answer(content)

        def do_GET(self) -> None:
            if "/pods" in self.path:
                self.answer({"kind": "PodList", "items": []})
            else:
                name = self.path.split("/jobs/")[1].split("/")[0]
                self.answer(cluster.jobs[name] | {"status": cluster.status(name)})

        def do_DELETE(self) -> None:
            self.answer({"kind": "Status", "status": "Success"})

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    where = folder / "kubeconfig"
    where.write_text(
        yaml.safe_dump(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
                "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "nobody", "user": {}}],
            }
        )
    )
    try:
        yield cluster, where
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for pod in cluster.pods.values():
            if pod.poll() is None:
                pod.kill()
            pod.wait()
