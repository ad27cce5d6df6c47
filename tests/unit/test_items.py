"""Folds are split by image; samples are drawn without replacement."""

import numpy as np
import pytest

from pidflow.errors import DataError
from pidflow.items import Item, folds_by_image, sample


def test_folds_keep_images_together_and_balance_rows():
    images = [f"image-{index // 3}" for index in range(300)] + ["crowd"] * 40
    folds = folds_by_image(images, 5, seed=0)
    for image in set(images):
        assert len(set(folds[np.array(images) == image])) == 1
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 3


def test_folds_follow_the_seed():
    images = [str(index) for index in range(50)]
    np.testing.assert_array_equal(folds_by_image(images, 5, seed=1), folds_by_image(images, 5, seed=1))
    assert (folds_by_image(images, 5, seed=1) != folds_by_image(images, 5, seed=2)).any()


def test_more_folds_than_images():
    with pytest.raises(DataError, match="5 folds need at least as many images, found 2"):
        folds_by_image(["a", "a", "b"], 5, seed=0)


def test_sample_keeps_order_and_draws_once():
    items = [Item(str(index), "image", "image.png", "what ?", "that") for index in range(100)]
    drawn = [int(item.item_id) for item in sample(items, 30, seed=0)]
    assert len(set(drawn)) == 30
    assert drawn == sorted(drawn)
    assert sample(items, 200, seed=0) == items
