"""Test tiers and shared fixtures: tiny random models of both families, drawn scenes, an items table on disk."""

import os

import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the simulation studies that take minutes")


def pytest_collection_modifyitems(config, items):
    reasons = {} if config.getoption("--slow") else {"slow": pytest.mark.skip(reason="minutes of simulation: --slow")}
    if not os.path.exists("/dev/nvidia0"):
        reasons["gpu"] = pytest.mark.skip(reason="no accelerator on this machine")
    for item in items:
        for name, mark in reasons.items():
            if name in item.keywords:
                item.add_marker(mark)
