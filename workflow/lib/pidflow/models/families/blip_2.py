"""BLIP-2 over OPT: tokens of a Q-Former before the text."""

from pidflow.models.families._family import Family

FAMILY = Family(name="blip-2", model_type="blip-2", in_front=True, image_token="<image>")
