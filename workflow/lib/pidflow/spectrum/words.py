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
