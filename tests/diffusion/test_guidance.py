"""Classifier-free guidance: when, and by how much."""

import pytest
import torch

from r2id.diffusion.guidance import guide, is_guided


@pytest.mark.parametrize(
    ("time", "scale", "guided"),
    [(0.3, 4.0, True), (0.8, 4.0, True), (0.29, 4.0, False), (0.81, 4.0, False), (0.5, 1.0, False), (0.5, 0.0, True)],
)
def test_guidance_applies_within_its_interval_unless_it_changes_nothing(time, scale, guided):
    assert is_guided(time, scale, (0.3, 0.8)) is guided


def test_guidance_goes_beyond_the_conditional_prediction():
    conditional, unconditional = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.0])
    assert guide(conditional, unconditional, 4.0).tolist() == [9.0, -2.0]
    assert torch.equal(guide(conditional, unconditional, 1), conditional)
    assert torch.equal(guide(conditional, unconditional, 0), unconditional)
