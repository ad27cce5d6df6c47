"""InstructBLIP over Vicuna: tokens of a Q-Former, which reads the question, before the text."""

from pidflow.models.families._family import Family

FAMILY = Family(
    name="instructblip",
    model_type="instructblip",
    in_front=True,
    image_token="<image>",
    reads_question=True,
    notes="the Q-Former reads the question: vision alone still holds language",
)
