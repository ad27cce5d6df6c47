"""The numbers that OpenReview 6WsBGk4Iag reports; tasks and families by the ids that config/breadth.yaml gives them."""

NAN = float("nan")
# Spearman over 26 models, in the order of CORRELATED.
CORRELATIONS = {
    "mmbench": (0.750, 0.194, 0.632, -0.757, 0.809),
    "pope": (0.742, -0.009, 0.157, -0.701, 0.744),
    "reefknot": (0.357, 0.313, 0.266, -0.348, 0.459),
    "pmc-vqa": (0.432, 0.406, 0.559, -0.587, 0.400),
}
CORRELATED = (
    ("accuracy", "synergy"),
    ("accuracy", "unique_language"),
    ("accuracy", "mi_joint"),
    ("accuracy", "interaction"),
    ("vision_dependence", "synergy"),
)
# Which sign each correlation has in three of four tasks at least.
SIGNS = (1, 1, 1, -1, 1)
# From small to medium and from medium to large: accuracy, synergy, and language-unique where it is given.
SCALING = {
    "llava-onevision": ((11.9, 11.9, -6.5), (3.1, 14.8, NAN)),
    "internvl2.5": ((7.3, 36.8, -55.6), (3.6, 10.6, NAN)),
    "internvl3": ((2.7, 2.5, -6.2), (6.4, 4.6, NAN)),
}
SCALED = ("accuracy", "synergy", "unique_language")
# Whether a task is synergy-driven, whether a family is fusion-centric.
TASK_TYPES = {"mmbench": True, "pope": True, "reefknot": False, "pmc-vqa": False}
GROUP_TYPES = dict.fromkeys(("internvl2.5", "internvl3", "qwen2.5-vl"), True) | dict.fromkeys(
    ("gemma-3", "cambrian"), False
)
