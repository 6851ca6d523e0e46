"""Arguments of a call: numbers of other libraries are taken, and what cannot be is said in one sentence."""

import numpy as np
import pytest
import torch
from seeds import seeded

from r2id.diffusion.noise_field import finest_grid
from r2id.errors import InputError

FEW = {"latent_size": (3, 2), "size": (8, 6), "num_inference_steps": 3, "output_type": "pt"}


class TestNumbersOfOtherLibraries:
    @pytest.mark.parametrize(
        "labels", [np.array([3, 7]), torch.tensor([3, 7]), [np.int64(3), torch.tensor(7)], np.array(["3", "7"])]
    )
    def test_labels(self, pipeline, labels):
        expected = pipeline([3, 7], generator=seeded(), **FEW).images
        assert torch.equal(pipeline(labels, generator=seeded(), **FEW).images, expected)

    @pytest.mark.parametrize(
        "size", [(np.int64(8), np.int64(6)), np.array([8, 6]), torch.Size([8, 6]), torch.tensor([8, 6])]
    )
    def test_sizes(self, pipeline, size):
        images = pipeline(
            [3], generator=seeded(), **FEW | {"size": size, "latent_size": (np.int64(3), np.int32(2))}
        ).images
        assert images.shape == (1, 1, 8, 6)

    @pytest.mark.parametrize(
        "of",
        [np.array, torch.tensor, lambda pair: list(map(np.float32, pair)), lambda pair: list(map(torch.tensor, pair))],
        ids=["array", "tensor", "array's numbers", "tensor's numbers"],
    )
    def test_everything_that_is_a_pair(self, pipeline, of):
        how = {"num_inference_steps": 2, "output_type": "pt"}
        image = torch.rand(1, 1, 8, 6)
        mask = torch.arange(48).view(8, 6) % 6 // 3

        def pictures(pair):
            options = how | {"guidance_interval": pair((0.25, 0.75))}
            joint = {"joint": True, "latent_size": pair((3, 3)), "generator": seeded()}
            one = pipeline([3], canvas=pair((1, 2)), size=pair((8, 6)), generator=seeded(), **options)
            placed = {"canvas": pair((8, 8)), "latent_size": pair((3, 3))} | options
            latent = pipeline.resampler.encode(image, pair((3, 2)), pair((1, 2)))
            return [
                one.images,
                *pipeline([3], size=[pair((8, 6)), pair((6, 8))], **joint | options).images,
                pipeline.panorama([3], pair((8, 40)), pair((3, 2)), generator=seeded(), **options).images,
                pipeline.inpaint(image, mask, [3], generator=seeded(), **placed).images,
                pipeline.outpaint(image, [3], right=2, generator=seeded(), **placed).images,
                pipeline.decode(one.latents, pair((9, 7)), pair((3, 2)), "pt"),
                latent,
                pipeline.resampler.field(latent, pair((1, 2))).render(pair((8, 6))),
                pipeline.diffuser(one.latents, torch.tensor([0.5]), pipeline.tokens([3]), canvas=pair((1, 2))),
            ]

        for picture, expected in zip(pictures(of), pictures(tuple), strict=True):
            assert torch.equal(picture, expected)

    @pytest.mark.parametrize("of", [np.int64, torch.tensor, np.float32])
    def test_pixels_to_add(self, pipeline, of):
        image = torch.rand(1, 1, 8, 6)
        first, second = (
            pipeline.outpaint(image, [3], left=side, generator=seeded(), **FEW).images for side in (of(2), 2)
        )
        assert torch.equal(first, second)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "named"),
        [
            ({"class_labels": ["3", "cat"]}, "'cat'.*0, 1, 2"),
            ({"class_labels": [10]}, "10"),
            ({"class_labels": []}, "no class_labels"),
            ({"size": (0, 8)}, r"\(0, 8\)"),
            ({"size": [(8, 8), (8, -2)]}, r"\(8, -2\)"),
            ({"size": (8.5, 8)}, r"8\.5"),
            ({"latent_size": (0, 2)}, r"latent size is \(0, 2\)"),
            ({"output_type": "jpeg"}, "'jpeg'.*'pil', 'np', 'pt' or 'latent'"),
            ({"num_inference_steps": 0}, "0"),
            ({"num_inference_steps": 5000}, "5000"),
            ({"num_inference_steps": 2.5}, "2.5; it must be a whole number"),
            ({"num_inference_steps": "many"}, "'many'"),
            ({"guidance_interval": (0.3,)}, r"guidance_interval is \(0.3,\); it must be two times"),
            ({"guidance_interval": (0.3, 0.5, 0.7)}, r"\(0.3, 0.5, 0.7\)"),
            ({"guidance_interval": 0.3}, "guidance_interval is 0.3"),
            ({"guidance_interval": ("a", "b")}, r"\('a', 'b'\)"),
            ({"guidance_interval": np.array([[0.3], [0.5]])}, r"\[\[0.3\], \[0.5\]\]"),
            ({"guidance_scale": "strong"}, "guidance_scale is 'strong'"),
            ({"guidance_scale": torch.tensor([1.0, 2.0])}, r"guidance_scale is \[1.0, 2.0\]"),
            ({"canvas": np.array([[1, 2]])}, r"canvas is \[\[1, 2\]\]"),
            ({"canvas": np.array([])}, r"canvas is \[\]"),
            ({"size": (8,)}, r"size is \(8,\)"),
            ({"size": (8, 8, 8)}, r"size is \(8, 8, 8\)"),
            ({"size": "8x8"}, "size is '8x8'"),
            ({"size": (1_000_000, 1_000_000)}, "1000000x1000000"),
            ({"latent_size": (1_000_000, 1_000_000)}, "1000000x1000000"),
            ({"generator": [seeded()] * 2}, "generator is a list of 2 and class_labels of 1"),
            ({"class_labels": ["3", "4"], "generator": [seeded()]}, "generator is a list of 1 and class_labels of 2"),
            ({"class_labels": ["3", "4"], "generator": []}, "list of 0"),
            ({"latents": torch.zeros(3, 3, 2, 2)}, r"\(3, 3, 2, 2\)"),
            ({"latents": torch.zeros(1, 5, 2, 2)}, r"\(1, 5, 2, 2\)"),
        ],
        ids=lambda value: str(list(value)[0]) if isinstance(value, dict) else None,
    )
    def test_what_cannot_be_is_named_in_one_sentence(self, pipeline, changed, named):
        with pytest.raises(InputError, match=named) as caught:
            pipeline(**{"class_labels": ["3"]} | FEW | changed)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"height": 8, "width": 6}, r"height and width are given; .* size=\(height, width\)$"),
            ({"width": 6}, r"width is given; .* size=\(height, width\)$"),
            (
                {"negative_prompt": "3"},
                "no argument 'negative_prompt'; its arguments are class_labels, .*dict$",
            ),
        ],
    )
    def test_an_argument_of_other_pipelines_is_answered_in_a_sentence(self, pipeline, given, named):
        with pytest.raises(InputError, match=named):
            pipeline(["3"], **given)

    def test_a_huge_picture_is_refused_before_any_work(self, pipeline):
        pipeline.diffuser.guidance_branches = lambda *_: pytest.fail("the diffuser ran")
        with pytest.raises(InputError, match="GiB"):
            pipeline(["3"], **FEW | {"size": [(8, 8), (10**7, 10**6)]})

    def test_the_noise_counts_in_what_has_to_fit(self, pipeline, monkeypatch):
        asked = []
        monkeypatch.setattr("r2id.diffusion.arguments.check_fits_in_memory", lambda sizes, *_: asked.extend(sizes))
        pipeline(["3"], **FEW | {"latent_size": (2, 21)})
        assert finest_grid((2, 21)) in asked
