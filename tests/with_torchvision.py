"""Runs a script of this repository with torchvision, whose processors call no operator of its own.

``PYTHONPATH=workflow/lib:.:FOLDER python -m tests.with_torchvision SCRIPT …`` where FOLDER holds torchvision (``pip
install --no-deps --target FOLDER torchvision==0.28.0``). Its wheel for GPUs cannot load its operators beside a PyTorch
for CPUs and refuses to be imported; those that it misses then are declared here, without anything behind them.
"""

import importlib.util
import re
import runpy
import sys
from pathlib import Path

import torch


def declare_operators():
    """Let torchvision be imported where its operators cannot be loaded."""
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    source = (folder / "_meta_registrations.py").read_text(encoding="utf-8")
    for name in re.findall(r"register_fake\(\"(torchvision::\w+)\"", source):
        if not torch._C._dispatch_has_kernel(name):
            torch.library.define(name, "(Tensor x) -> Tensor")


if __name__ == "__main__":
    declare_operators()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
