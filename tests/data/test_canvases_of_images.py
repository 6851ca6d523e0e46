"""Images on canvases of other proportions, and resized in their own to whole cells."""

import pytest
import torch
from plain_pictures import picture, save

from r2id.data.loading import load_images, load_sizes
from r2id.errors import InputError


def test_an_image_lies_in_the_middle_of_its_canvas(tmp_path):
    save(picture((9, 80, 200), (10, 10)), tmp_path / "one.png")
    (data,) = load_sizes(tmp_path, image_size=(8, 8), pad_to=(8, 13), background=255)
    (image,) = data.images
    assert image.shape == (3, 8, 13)
    assert image[:, :, :2].eq(255).all() and image[:, :, 10:].eq(255).all()
    torch.testing.assert_close(image[:, :, 2:10], load_images(tmp_path, image_size=(8, 8)).images[0])


@pytest.mark.parametrize("options", [
    {}, {"image_size": (8, 20)}, {"image_size": (12, 8)}, {"image_size": (8, 8), "keep_proportions": True},
])  # fmt: skip
def test_images_that_do_not_fit_on_the_canvas_are_refused(tmp_path, options):
    save(picture(1, (10, 10), "L"), tmp_path / "one.png")
    with pytest.raises(InputError, match=r"pad_to is \(8, 13\) and image_size .*; images of one size must fit in it"):
        load_sizes(tmp_path, pad_to=(8, 13), **options)


def test_sides_are_multiples_of_a_cell(tmp_path):
    for number, size in enumerate([(192, 256), (256, 192), (200, 200)]):
        save(picture(number, size, "L"), tmp_path / f"{number}.png")
    sets = load_sizes(tmp_path, image_size=(64, 64), keep_proportions=True, multiple=8)
    assert {tuple(data.images.shape[-2:]) for data in sets} == {(56, 72), (72, 56), (64, 64)}
