"""Words of how predictions are decomposed; the configuration reads them too."""

from pidflow.spectrum.words import LANGUAGE_ONLY, NO_IMAGE, QUESTION_MASKED, VISION_ONLY

# What stands for a source alone.
VISION_PASSES, LANGUAGE_PASSES = (QUESTION_MASKED, VISION_ONLY), (LANGUAGE_ONLY, NO_IMAGE)
# As OpenReview 6WsBGk4Iag does it, or with its faults repaired.
PUBLISHED, REPAIRED = "published", "repaired"
MODES = (REPAIRED, PUBLISHED)
# By a coupling of the questions (found exactly, or by the published networks), or by clusters of the sources.
COUPLING, NETWORKS, CLUSTERS = "coupling", "networks", "clusters"
METHODS = (COUPLING, NETWORKS, CLUSTERS)
# How layers are read: through the model's own final norm or without it, or through a map fitted on the training part.
NORM, NO_NORM, TUNED = "norm", "no-norm", "tuned"
LENSES = (NORM, NO_NORM, TUNED)
# What the answer is told as, see pidflow.spectrum.labels.
WORD, PLACE, AUTO = "word", "place", "auto"
LABELS = (AUTO, WORD, PLACE)
