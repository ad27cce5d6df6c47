"""Keys and names of earlier versions are refused with the sentence that names the new one."""

from pathlib import Path

import pytest
import yaml

from pidflow.config import design
from pidflow.errors import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / "config" / "config.yaml"


@pytest.mark.parametrize(
    ("section", "change", "now"),
    [
        ("pid", {"routes": ["flow"]}, "'routes' is called 'estimators' now"),
        ("claims", {"routes": ["flow"]}, "'routes' is called 'estimators' now"),
        ("pid", {"estimators": ["linear", "flow"]}, "'gaussian'"),
        ("pid", {"estimators": ["flow", "rank"]}, "'copula'"),
        ("claims", {"estimators": ["linear"]}, "'gaussian'"),
        ("models", {"standin": {"family": "llava", "path": "here", "layers": 8}}, "'layers' is called 'blocks' now"),
        (
            "interventions",
            {"image-question": {"kind": "cut", "source": "image", "target": "question", "layers": "all"}},
            "'layers' is called 'blocks' now",
        ),
        (
            "interventions",
            {"diffusion": {"kind": "pde", "equation": "diffusion", "steps": 2, "size": 0.25, "layers": "all"}},
            "'layers' is called 'blocks' now",
        ),
    ],
)
def test_an_old_word_is_answered_with_the_new_one(section, change, now):
    config = yaml.safe_load(CONFIG.read_text())
    config[section] |= change
    with pytest.raises(ConfigError) as caught:
        design.check(config)
    assert f"config {section}" in str(caught.value)
    assert now in str(caught.value)
    assert "\n" not in str(caught.value)
