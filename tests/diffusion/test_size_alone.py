"""The latents that a size alone chooses, and the same picture at another size."""

import pytest
import torch
from seeds import seeded

from r2id.conditioning.labels import LabelConditioner
from r2id.diffusion.pipeline import R2Pipeline

FEW = {"num_inference_steps": 3, "output_type": "pt"}


class TestSizeAlone:
    """The proportions of a size choose the latents of a model of many, and its pixels do not."""

    def of_cells(self, make_diffuser, make_pyramid) -> R2Pipeline:
        defaults = {"size": (64, 64), "latent_size": (4, 4)}
        labels = LabelConditioner(dim=8).eval()
        pipeline = R2Pipeline(make_diffuser(channels=24), labels, make_pyramid(), generation_defaults=defaults)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @pytest.mark.parametrize(
        ("size", "grid"),
        [((64, 64), (4, 4)), ((20, 20), (4, 4)), ((1, 1), (4, 4)), ((36, 64), (3, 5)), ((9, 3), (7, 2))],
    )
    def test_a_pyramid_gets_as_many_cells_in_every_proportion(self, make_diffuser, make_pyramid, size, grid):
        result = self.of_cells(make_diffuser, make_pyramid)([3], size=size, generator=seeded(), **FEW)
        assert result.latents.shape == (1, 24, *grid) and result.images.shape == (1, 3, *size)

    def test_a_seed_shows_the_same_picture_at_another_size(self, make_diffuser, make_pyramid):
        pipeline = self.of_cells(make_diffuser, make_pyramid)
        for how in ({"size": [(18, 32), (32, 32)], "joint": True}, {"size": (18, 32)}):
            several = how.get("joint", False)
            twice = [(2 * h, 2 * w) for h, w in how["size"]] if several else (36, 64)
            small = pipeline([3], generator=seeded(), **how, **FEW)
            large = pipeline([3], generator=seeded(), **how | {"size": twice}, **FEW)
            latents = zip(small.latents, large.latents, strict=True) if several else [(small.latents, large.latents)]
            assert all(torch.equal(one, other) for one, other in latents)
            pictures = zip(small.images, large.images, strict=True) if several else [(small.images, large.images)]
            for one, other in pictures:
                halved = torch.nn.functional.avg_pool2d(other, 2)
                # Random weights draw much fine detail, of which a larger picture has more.
                assert (halved - one).square().mean() < 0.25 * one.var()
