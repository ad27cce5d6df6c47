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
from tests.tiny_types import FAILS, TYPES
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging as library_logging

from pidflow.errors import PidflowError
from pidflow.interventions.self_check import self_check
from pidflow.models.refused import REFUSED
from pidflow.plugins.registry import available

UNTRIED = "no tiny checkpoint of it has been built"


def measured(tiny):
    """Family and largest differences of a tiny checkpoint, as a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_back(tiny, folder)
        batch = asked_of(loaded)
        checked = self_check(loaded, batch)
        numbers = (row_alone(loaded, batch), prefix_error(loaded, batch), lens_error(loaded, batch), checked.moved)
    return f"passes as `{tiny.family}` | " + " | ".join(f"{number:.1e}" for number in numbers)


def verdict(kind):
    """Rows of a type: a name and the verdict."""
    own = {name: tiny for name, tiny in CASES.items() if tiny.model_type == kind}
    if not own and kind in TYPES:
        family = kind.replace("_", "-")
        own = {kind: replace(TYPES[kind], family=family if family in available("models.families") else "generic")}
    if kind in FAILS:
        own = {kind: replace(FAILS[kind][0], family="generic")}
    if kind in REFUSED:
        yield kind, f"refused: {REFUSED[kind]} | | | |"
        return
    for name, tiny in own.items():
        try:
            yield f"{kind} ({name})" if len(own) > 1 else kind, measured(tiny)
        except PidflowError as err:
            said = re.sub(r"model '[^']*': ", "", str(err)).removeprefix("knockout self-check: ")
            yield kind, f"refused by the self-check: {said} | | | |"
    if not own:
        backends = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind) or {}
        needs = set(backends) == {"torchvision"} and not installed("torchvision")
        yield (
            kind,
            f"not tried: {'its pictures need torchvision, which is not installed here' if needs else UNTRIED} | | | |",
        )


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
