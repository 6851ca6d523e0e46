"""Labels as indices, and the errors of unknown ones."""

import pytest
import torch

from r2id.cli.parsing import parse_labels
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
        (FLOWERS, "x" * 10**6, r"label 'x{40}' is not known .* it knows 63 labels, which `r2id info MODEL` lists$"),
        (FLOWERS, "sunflowr", "such as Sunflower$"),
        (FLOWERS, "DAISIES", "such as daisy$"),
        ([*FLOWERS, "oxeye_daisy", "painted-daisy"], "red daisy", "such as .*oxeye_daisy"),
        ([*FLOWERS, "californian_poppy"], "Poppy", "such as californian_poppy$"),
        ([*FLOWERS, "a_b", "a-b"], "a b", "such as a_b, a-b$"),
        (FLOWERS, "", "a label or prompt is empty; this model knows 63 labels, which `r2id info MODEL` lists$"),
        (["cat", "dog"], " ", "a label or prompt is empty; this model knows cat, dog$"),
        ([*"0123456789"], -3, "label '-3' is not known"),
    ],
)
def test_an_unknown_label_is_told_with_those_near_to_it(names, label, told):
    with pytest.raises(InputError, match=told):
        LabelConditioner(names, dim=4).index(label)


@pytest.mark.parametrize("label", ["oxeye_daisy", "oxeye daisy", "Oxeye-Daisy", " OXEYE  DAISY "])
def test_case_and_what_separates_words_do_not_matter(label):
    assert LabelConditioner(["rose", "oxeye_daisy", "daisy"], dim=4).index(label) == 1
    assert parse_labels(f"Rose,{label}", ["rose", "oxeye_daisy"]) == ["rose", "oxeye_daisy"]


def test_a_label_that_is_spelled_so_comes_first():
    names = ["Rose", "rose", "1-3", "1_4"]
    assert [LabelConditioner(names, dim=4).index(name) for name in names] == [0, 1, 2, 3]
    assert parse_labels("1-3,1-4", names) == ["1-3", "1", "2", "3", "4"]
