"""What families do whose pictures need torchvision, as JSON; run by ``python -m tests.with_torchvision``.

Every processor here is the library's own, those of Pixtral, Mistral 3 and Cohere2 Vision included, for which others
stand in elsewhere.
"""

import json
import sys
import tempfile
import warnings
from dataclasses import replace

import numpy as np
from tests.tiny_checks import asked_of, examples, lens_error, load_back, prefix_error, row_alone, swept
from tests.tiny_vision import VISION_TYPES

from pidflow.interventions.model_check import check_model, own_questions
from pidflow.models.probe_inputs import check_entry


def found_of(name):
    """Numbers of one family, end to end."""
    tiny = replace(VISION_TYPES[name], family=name.replace("_", "-"))
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_back(tiny, folder)
    batch = asked_of(loaded)
    together, *alone = own_questions(loaded)
    checked = check_model(loaded, together, alone)
    outcome = swept(loaded, batch)
    ids, spans = batch.inputs["input_ids"], batch.spans
    said = [loaded.tokenizer.decode(ids[row][spans["question"][row]]).strip() for row in range(len(batch))]
    return {
        "row alone": row_alone(loaded, batch),
        "prefix": prefix_error(loaded, batch),
        "lens": lens_error(loaded, batch),
        "entry": check_entry(loaded, batch),
        "places": checked.places,
        "sees": checked.sees,
        "above": checked.above,
        "questions": said == [example.question for example in examples()],
        "objects": bool(spans["object"].any(1).all()),
        "swept": bool(outcome.present.all() and np.isfinite(outcome.change_first).all()),
        "moved": float(np.abs(outcome.change_first).max()),
    }


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    print(json.dumps({name: found_of(name) for name in sys.argv[1:]}))
