"""Words of the spectrum: passes, replacements, scores; the configuration reads them too."""

JOINT, NO_IMAGE = "joint", "no-image"
VISION_ONLY, LANGUAGE_ONLY = "vision-only", "language-only"
QUESTION_MASKED, OPTIONS_ONLY = "question-masked", "options-only"
# What each pass replaces; the rest stays as in the joint pass, positions and masks included.
REPLACES = {
    JOINT: (),
    VISION_ONLY: ("language",),  # question, options and instruction
    LANGUAGE_ONLY: ("image",),
    QUESTION_MASKED: ("question",),  # its words; options and image stay
    OPTIONS_ONLY: ("image", "question"),
    NO_IMAGE: (),  # the image tokens are not there at all
}
PASSES = tuple(REPLACES)
# By what: draws around the mean of the training fold, the mean itself, another question's tokens.
NOISE, MEAN, SHUFFLE = "noise", "mean", "shuffle"
REPLACEMENTS = (NOISE, MEAN, SHUFFLE)
# How an option may be scored; see Pass.
BEGINS, SEQUENCE, NORMALISED, BARE = "begins", "sequence", "length-normalised", "bare"
SCORES = (BEGINS, SEQUENCE, NORMALISED, BARE)
# How a layer's state is read: through the model's own final norm and head, or through its head alone.
LENSES = ("norm", "no-norm")
# What predictions are over.
OPTIONS, LETTERS, CLUSTERS, TOP = "options", "letters", "clusters", "top"
ANSWERS = (OPTIONS, LETTERS, CLUSTERS, TOP)
# What can be imported.
PID_LVLM, VLM_LENS = "pid-lvlm", "vlm-lens"
FORMATS = (PID_LVLM, VLM_LENS)
