"""Folds are split by image; samples are drawn without replacement."""

import numpy as np
import pytest

from pidflow.data.items import Item, drawn
from pidflow.errors import NumericsError
from pidflow.groups import grouped_folds


def test_folds_keep_images_together_and_balance_rows():
    images = [f"image-{index // 3}" for index in range(300)] + ["crowd"] * 40
    folds = grouped_folds(len(images), folds=5, groups=images, seed=0)
    for image in set(images):
        assert len(set(folds[np.array(images) == image])) == 1
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 3


def test_folds_follow_the_seed():
    images = [str(index) for index in range(50)]
    np.testing.assert_array_equal(
        grouped_folds(50, folds=5, groups=images, seed=1), grouped_folds(50, folds=5, groups=images, seed=1)
    )
    assert (
        grouped_folds(50, folds=5, groups=images, seed=1) != grouped_folds(50, folds=5, groups=images, seed=2)
    ).any()


def test_more_folds_than_images():
    with pytest.raises(NumericsError, match="5 folds need at least 5 groups, found 2"):
        grouped_folds(3, folds=5, groups=["a", "a", "b"], seed=0)


def test_sample_keeps_order_and_draws_once():
    items = [Item(str(index), "image", "image.png", "what ?", "that") for index in range(100)]
    chosen = [int(item.item_id) for item in drawn(items, 30, seed=0).items]
    assert len(set(chosen)) == 30
    assert chosen == sorted(chosen)
    assert drawn(items, 200, seed=0).items == tuple(items)
