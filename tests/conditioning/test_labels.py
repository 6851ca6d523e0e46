"""Labels as indices, and the errors of unknown ones."""

import pytest
import torch

from r2id.conditioning.labels import LabelConditioner
from r2id.errors import InputError

FLOWERS = ["Sunflower", "rose", "daisy", *(f"flower {number}" for number in range(60))]


def test_labels_are_read_as_indices_and_none_as_no_label():
    conditioner = LabelConditioner(["cat", "dog"], num_tokens=2, dim=4)
    read = conditioner.read(["dog", "cat", None])
    assert read.tolist() == [1, 0, 2] and conditioner(read).shape == (3, 2, 4)
    assert LabelConditioner().read([7, torch.tensor(3), "0"]).tolist() == [7, 3, 0]


@pytest.mark.parametrize(
    ("names", "label", "told"),
    [
        (["cat", "dog"], "cow", r"label 'cow' is not known to this model; it knows cat, dog$"),
        (FLOWERS, "sunflowr", "it knows 63 labels, such as Sunflower"),
        (FLOWERS, "x" * 10**6, r"label 'x{40}' is not known .* such as Sunflower, rose, daisy, flower 0, flower 1$"),
    ],
)
def test_an_unknown_label_is_told_with_the_nearest_known_ones(names, label, told):
    with pytest.raises(InputError, match=told):
        LabelConditioner(names, dim=4).index(label)
