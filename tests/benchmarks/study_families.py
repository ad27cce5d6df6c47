"""What becomes of every image-text type that the library maps: measured on a tiny random checkpoint, or why not.

``PYTHONPATH=workflow/lib:. python tests/benchmarks/study_families.py`` prints the table of docs/families.md: largest
differences in float32 of logits (rows alone and in a padded batch; from the prefix and by full passes) and of
probabilities (the lens at the last layer and the model's own).
"""

import logging
import re
import sys
import tempfile
import warnings
from dataclasses import replace

from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of, lens_error, load_back, prefix_error, row_alone
from tests.tiny_families import installed
from tests.tiny_rare import RARE
from tests.tiny_types import FAILS, TYPES
from tests.tiny_vision import VISION_TYPES
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging as library_logging

from pidflow.errors import ConfigError, PidflowError
from pidflow.interventions.model_check import check_model
from pidflow.models.families.generic import FAMILY as GENERIC
from pidflow.models.refused import check_type
from pidflow.plugins.registry import available

UNTRIED = "no tiny checkpoint of it has been built"
_TIMM = "not tried: its picture tower is timm's, which is not installed here"
_QWEN3_5 = "refused by the self-check: its language model is that of qwen3_5"
# Of types without a tiny checkpoint, why.
REASONS = dict.fromkeys(("fast_vlm", "gemma3n", "perception_lm"), _TIMM)
REASONS |= dict.fromkeys(("minicpm_ocr", "minicpmv4_6", "minicpmv4_7"), _QWEN3_5)
REASONS |= {
    "instructblipvideo": "not tried: it is asked about videos",
    "kosmos-2.5": "refused as kosmos-2: neither configuration nor processor tells which token the picture replaces",
    "nemotron_h_omni": "not tried: most blocks of its language model (nemotron_h) do not attend",
}


def measured(tiny):
    """Family and largest differences of a tiny checkpoint, as a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_back(tiny, folder)
        batch = asked_of(loaded)
        checked = check_model(loaded, batch, [asked_of(loaded, slice(row, row + 1)) for row in range(len(batch))])
        numbers = (row_alone(loaded, batch), prefix_error(loaded, batch), lens_error(loaded, batch), checked.moved)
    return f"passes as `{tiny.family}` | " + " | ".join(f"{number:.1e}" for number in numbers)


def verdict(kind):
    """Rows of a type: a name and the verdict."""
    others = TYPES | RARE | (VISION_TYPES if installed("torchvision") else {})
    own = {name: tiny for name, tiny in CASES.items() if tiny.model_type == kind}
    if not own and kind in others:
        family = kind.replace("_", "-")
        family = family if family in available("models.families") else "generic"
        own = {kind: replace(others[kind], family=others[kind].family or family)}
    if kind in FAILS:
        own = {kind: replace(FAILS[kind][0], family="generic")}
    try:
        check_type(kind, AutoConfig.for_model(kind), GENERIC)
    except ConfigError as err:
        yield kind, f"refused: {str(err).partition('which is refused: ')[2]} | | | |"
        return
    for name, tiny in own.items():
        try:
            yield f"{kind} ({name})" if len(own) > 1 else kind, measured(tiny)
        except PidflowError as err:
            said = re.sub(r"model '[^']*': |family 'generic': ", "", str(err)).removeprefix("knockout self-check: ")
            yield kind, f"refused by the self-check: {said} | | | |"
    if not own:
        yield kind, f"{REASONS.get(kind, f'not tried: {UNTRIED}')} | | | |"


def main(kinds):
    """Print the table."""
    warnings.filterwarnings("ignore")
    library_logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    print("| type | verdict | row alone | prefix | lens | moved by a cut |\n|---|---|---|---|---|---|")
    for kind in kinds or MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        for name, said in verdict(kind):
            print(f"| {name} | {said} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
