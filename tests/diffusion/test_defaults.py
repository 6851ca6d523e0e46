"""A model's own defaults, stored with it, and the canvas that travels with its latents."""

import copy
import io
import json

import numpy as np
import pytest
import torch
from seeds import seeded

from r2id.diffusion.defaults import GenerationDefaults
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.files.latents import Latents
from r2id.geometry.canvas import LatentTensor, canvas_of
from r2id.networks.batches import decode_some_at_once
from r2id.networks.loading import PRETRAINED

STORED = {
    "size": (64, 64),
    "latent_size": (16, 16),
    "num_inference_steps": 3,
    "guidance_scale": 2.0,
    "guidance_interval": (0.1, 0.9),
}


def with_defaults(pipeline: R2Pipeline, **defaults) -> R2Pipeline:
    pipeline.register_to_config(generation_defaults=defaults)
    return pipeline


class TestDefaults:
    def test_the_bundled_model_has_its_own(self):
        index = json.loads((PRETRAINED / "mnist" / "model_index.json").read_text())
        assert index["generation_defaults"] == {
            "size": [32, 32], "latent_size": [8, 8], "num_inference_steps": 20, "guidance_scale": 4.0,
            "guidance_interval": [0.3, 0.8],
        }  # fmt: skip

    def test_they_are_saved_and_loaded_with_a_model(self, make_pipeline, tmp_path):
        with_defaults(make_pipeline(canvas=(64, 64)), **STORED).save_pretrained(tmp_path)
        assert json.loads((tmp_path / "model_index.json").read_text())["generation_defaults"]["size"] == [64, 64]
        assert R2Pipeline.from_pretrained(tmp_path).generation_defaults == GenerationDefaults(**STORED)

    def test_a_call_takes_them_where_nothing_is_given(self, make_pipeline):
        pipeline = with_defaults(make_pipeline(canvas=(64, 64)), **STORED)
        result = pipeline(["3"], generator=seeded(), output_type="pt")
        assert result.images.shape == (1, 1, 64, 64) and result.latents.shape == (1, 3, 16, 16)
        assert pipeline.num_timesteps == 3 and pipeline.guidance_scale == 2.0
        given = pipeline(["3"], generator=seeded(), output_type="pt", **STORED)
        assert torch.equal(result.images, given.images)
        assert pipeline(["3"], guidance_scale=1, num_inference_steps=2).images[0].size == (64, 64)
        assert pipeline.num_timesteps == 2 and pipeline.guidance_scale == 1

    def test_a_model_is_shown_by_its_examples_or_else_by_its_first_labels(self, make_pipeline, tmp_path):
        pipeline = with_defaults(make_pipeline(canvas=(64, 64)), **STORED, examples=["7", "no label", "3"])
        pipeline.save_pretrained(tmp_path)
        defaults, labels = R2Pipeline.from_pretrained(tmp_path).generation_defaults, tuple("0123456789")
        assert defaults.shown(labels, 2) == ["7", "3"] and defaults.shown(labels, 1) == ["7"]
        assert defaults.shown((), 3) == ["7", "no label", "3"]
        assert GenerationDefaults(**STORED).shown(labels, 2) == ["0", "1"]

    def test_of_an_old_model_they_follow_from_its_networks(self, make_pipeline, make_resampler, tmp_path):
        resampler = make_resampler(sample_size=64, latent_size=16)
        make_pipeline(resampler, canvas=(64, 32)).save_pretrained(tmp_path)
        index = json.loads((tmp_path / "model_index.json").read_text())
        del index["generation_defaults"]
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        pipeline = R2Pipeline.from_pretrained(tmp_path)
        assert pipeline.generation_defaults == GenerationDefaults((64, 32), (16, 8))
        pipeline.set_progress_bar_config(disable=True)
        assert pipeline(["3"], num_inference_steps=1).images[0].size == (32, 64)

    @pytest.mark.parametrize(
        ("canvas", "stored", "expected"),
        [
            ((128, 128), {}, ((64, 64), (4, 4))),
            ((3.5, 2), {}, ((56, 32), (4, 2))),
            (None, {}, ((64, 64), (4, 4))),
            (None, {"latent_size": (6, 3)}, ((96, 48), (6, 3))),
        ],
    )
    def test_of_a_pyramid_they_follow_from_the_cells(self, make_pipeline, make_pyramid, canvas, stored, expected):
        pipeline = make_pipeline(make_pyramid(), channels=24, sample_size=4, canvas=canvas)
        assert with_defaults(pipeline, **stored).generation_defaults == GenerationDefaults(*expected)

    def test_of_a_model_of_pixels_both_sizes_are_those_of_its_pixels(self, make_pipeline):
        result = make_pipeline(None, sample_size=24, canvas=(24, 24))(["3"], num_inference_steps=1, output_type="pt")
        assert result.images.shape == result.latents.shape == (1, 1, 24, 24)

    @pytest.mark.parametrize(
        ("arguments", "latent_size", "size", "canvas"),
        [
            ({}, (4, 4), (16, 16), (16, 16)),
            ({"canvas": (1, 4)}, (2, 8), (8, 32), (1, 4)),
            ({"size": (8, 32)}, (2, 8), (8, 32), (8, 32)),
            ({"size": [(9, 30), (16, 16)]}, (2, 7), (9, 30), (9, 30)),
            ({"latent_size": (2, 8)}, (2, 8), (8, 32), (2, 8)),
        ],
    )
    def test_a_model_of_many_proportions_takes_those_of_what_is_given(
        self, make_pipeline, make_resampler, arguments, latent_size, size, canvas
    ):
        pipeline = make_pipeline(make_resampler(sample_size=16, latent_size=4))
        result = pipeline(["3"], num_inference_steps=1, output_type="pt", **arguments)
        images = result.images[0] if isinstance(result.images, list) else result.images
        assert result.latents.shape[-2:] == latent_size and images.shape[-2:] == size
        assert canvas_of(result.latents) == canvas

    @pytest.mark.parametrize(
        ("stored", "match"),
        [
            ({"size": [0, 3]}, "size is .0, 3."),
            ({"latent_size": 7}, "latent_size is 7"),
            ({"guidance_interval": [0.8, 0.3]}, "guidance_interval"),
            ({"num_inference_steps": 0}, "num_inference_steps is 0"),
            ({"stops": 3}, "'stops'; choose from size"),
        ],
    )
    def test_what_cannot_be_a_default_is_named(self, make_pipeline, stored, match):
        networks = make_pipeline()
        with pytest.raises(InputError, match=match):
            R2Pipeline(networks.diffuser, networks.conditioner, networks.resampler, generation_defaults=stored)


class TestCanvas:
    FEW = {"size": (8, 16), "latent_size": (3, 3), "num_inference_steps": 2, "output_type": "pt"}

    @pytest.mark.parametrize("own", [None, (16, 16)])
    @pytest.mark.parametrize("canvas", [None, (1, 2), (1.5, 1)])
    def test_it_travels_with_the_latents_of_a_call(self, make_pipeline, own, canvas):
        pipeline = make_pipeline(canvas=own)
        result = pipeline(["3", "4"], canvas=canvas, generator=seeded(), **self.FEW)
        for latents in (result.latents, torch.cat([result.latents[:1], result.latents[1:].clone().float()])):
            assert torch.equal(pipeline.decode(latents, (8, 16), output_type="pt"), result.images)
        assert torch.equal(pipeline.resampler.decode(result.latents, (8, 16)), result.images)
        plain = torch.as_tensor(np.asarray(result.latents))
        decoded = pipeline.decode(plain, (8, 16), canvas, output_type="pt")
        assert canvas_of(plain) is None and torch.equal(decoded, result.images)

    def test_it_travels_in_files(self, make_pipeline, tmp_path):
        pipeline = make_pipeline(canvas=(16, 16))
        result = pipeline(["3"], canvas=(1, 2), generator=seeded(), **self.FEW)
        Latents.of(pipeline, result.latents, ["3"]).save(tmp_path / "one.safetensors")
        read = Latents.load(tmp_path / "one.safetensors")
        assert read.canvas == (1, 2) and read.picture_size(16) == (8, 16)
        images = next(iter(decode_some_at_once(pipeline.resampler, read.values, (8, 16), read.canvas)))
        torch.testing.assert_close(images, result.images, atol=2e-2, rtol=0)
        assert torch.equal(pipeline.decode(read.values, (8, 16), output_type="pt"), images)

    def test_many_proportions_come_from_the_size_asked_for_not_from_the_grid(self, make_pipeline):
        pipeline = make_pipeline()
        result = pipeline(["3"], generator=seeded(), **self.FEW | {"size": (9, 16)})
        assert canvas_of(result.latents) == (9, 16)
        alone = pipeline(["3"], generator=seeded(), **self.FEW | {"size": (9, 16), "output_type": "latent"})
        assert torch.equal(alone.images, result.latents) and canvas_of(alone.images) == (9, 16)

    @pytest.mark.parametrize("canvas", [(0, 1), (1,), (1, float("nan")), "wide"])
    def test_what_is_no_canvas_is_named(self, make_pipeline, canvas):
        with pytest.raises(InputError, match="canvas is"):
            make_pipeline()(["3"], canvas=canvas, **self.FEW)

    def test_only_what_still_are_such_latents_keeps_it(self):
        latents = LatentTensor.of(torch.rand(3, 4, 2, 5), (1, 2))
        file = io.BytesIO()
        torch.save(latents, file)
        file.seek(0)
        same = (latents[1:], latents.half(), latents.split(1)[2], latents * 2, copy.deepcopy(latents), torch.load(file))
        assert all(canvas_of(one) == (1, 2) for one in same)
        other = LatentTensor.of(torch.rand(3, 4, 2, 5), (1, 1))
        others = (latents[0], latents.movedim(1, -1), latents[..., :2], latents.mean(), torch.cat([latents, other]))
        assert all(type(one) is torch.Tensor for one in others)


def test_a_folder_comes_before_bundled_weights_of_the_same_name(make_pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    bundled = R2Pipeline.from_pretrained("mnist").checksum()
    pipeline = make_pipeline()
    pipeline.save_pretrained("mnist")
    assert R2Pipeline.from_pretrained("mnist").checksum() == pipeline.checksum() != bundled
