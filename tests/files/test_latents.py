"""Files of latents: they come back, and what is none is named."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from r2id.errors import InputError
from r2id.files.latents import Latents


@pytest.fixture
def latents():
    values = torch.rand(3, 4, 2, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Latents(values, (16, 40), ("a", "b", "a"), model=7)


def test_what_was_saved_is_loaded(latents, tmp_path):
    latents.save(tmp_path / "new" / "one.safetensors")
    loaded = Latents.load(tmp_path / "new" / "one.safetensors")
    assert (loaded.canvas, loaded.labels, loaded.model) == ((16, 40), ("a", "b", "a"), 7)
    torch.testing.assert_close(loaded.values, latents.values, rtol=0, atol=5e-4)


def test_eight_bits_hold_each_channel_to_half_a_level(latents, tmp_path):
    widened = replace(latents, values=latents.values * torch.tensor([0.0, 1.0, 3.0, 10.0])[:, None, None])
    widened.save(tmp_path / "one.safetensors", "uint8")
    assert load_file(tmp_path / "one.safetensors")["latents"].dtype == torch.uint8
    loaded = Latents.load(tmp_path / "one.safetensors")
    span = widened.values.amax((0, 2, 3)) - widened.values.amin((0, 2, 3))
    # Half precision rounds what 8 bits gave.
    allowed = span / 255 / 2 + widened.values.abs().amax((0, 2, 3)) * 2**-11
    assert ((loaded.values - widened.values).abs().amax((0, 2, 3)) <= allowed).all()
    assert (loaded.canvas, loaded.labels) == (widened.canvas, widened.labels)


def test_another_type_is_refused(latents, tmp_path):
    with pytest.raises(InputError, match="dtype is 'int4'; it must be one of float16, uint8"):
        latents.save(tmp_path / "one.safetensors", "int4")
    assert not (tmp_path / "one.safetensors").exists()


def test_the_statistics_are_those_of_every_channel(latents, tmp_path):
    latents.save(tmp_path / "one.safetensors")
    tensors = load_file(tmp_path / "one.safetensors")
    channels = latents.values.movedim(1, 0).flatten(1)
    torch.testing.assert_close(tensors["mean"], channels.mean(1))
    torch.testing.assert_close(tensors["std"], channels.std(1, correction=0))


def test_files_are_joined_in_their_order(latents):
    both = Latents.joined([latents, Latents(latents.values[:1], latents.canvas, ("c",), latents.model)])
    assert both.labels == ("a", "b", "a", "c") and torch.equal(both.values[3], latents.values[0])


@pytest.mark.parametrize(
    ("size", "canvas", "model"), [((3, 3), (16, 40), 7), ((2, 5), (16, 41), 7), ((2, 5), (16, 40), 8)]
)
def test_files_that_do_not_belong_together_are_not_joined(latents, size, canvas, model):
    with pytest.raises(InputError, match="do not belong to those"):
        Latents.joined([latents, Latents(torch.zeros(1, 4, *size), canvas, ("a",), model)])


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_truncated_file_is_named(latents, tmp_path, keep):
    path = tmp_path / "one.safetensors"
    latents.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="one.safetensors cannot be read as latents"):
        Latents.load(path)


def test_other_files_are_named(tmp_path):
    with pytest.raises(InputError, match="gone.safetensors does not exist"):
        Latents.load(tmp_path / "gone.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="weights.safetensors holds no latents"):
        Latents.load(tmp_path / "weights.safetensors")


def test_latents_that_are_not_finite_are_refused(latents, tmp_path):
    latents.values[0, 0, 0, 0] = torch.nan
    latents.save(tmp_path / "one.safetensors")
    with pytest.raises(InputError, match="one.safetensors is damaged"):
        Latents.load(tmp_path / "one.safetensors")


def test_each_latent_may_be_had_on_its_own(latents):
    parts = latents.split()
    assert [part.labels for part in parts] == [("a",), ("b",), ("a",)] and parts[0].size == (2, 5)
    joined = Latents.joined(parts)
    assert torch.equal(joined.values, latents.values) and joined.labels == latents.labels
    unlabelled = Latents(latents.values, latents.canvas, (), latents.model).split()
    assert len(unlabelled) == 3 and unlabelled[2].labels == ()


def test_the_canvas_gives_proportions_and_no_number_of_pixels(latents, tmp_path):
    wide = replace(latents, canvas=(9, 16))
    for image_size, expected in ((None, (18, 32)), ((45, 80), (45, 80))):
        replace(wide, image_size=image_size).save(tmp_path / "one.safetensors")
        loaded = Latents.load(tmp_path / "one.safetensors")
        assert loaded.picture_size(32) == expected and loaded.image_size == image_size
        assert all(part.picture_size(32) == expected for part in loaded.split())
        assert Latents.joined([loaded, replace(loaded, image_size=(18, 32))]).picture_size(32) == (18, 32)


def test_those_of_a_pipeline_are_decoded_as_it_would(make_pipeline, tmp_path):
    pipeline = make_pipeline(canvas=(8, 6))
    result = pipeline([3, 7], (3, 2), (8, 6), 2, output_type="pt")
    Latents.of(pipeline, result.latents, [3, 7]).save(str(tmp_path / "two.safetensors"))
    kept = Latents.load(tmp_path / "two.safetensors")
    assert (kept.labels, kept.canvas, kept.model) == (("3", "7"), (8, 6), pipeline.resampler.checksum())
    again = pipeline.decode(kept.values, (8, 6), kept.canvas, "pt")
    torch.testing.assert_close(again, result.images, rtol=0, atol=2e-3)
    with pytest.raises(InputError, match="works on pixels"):
        Latents.of(make_pipeline(None), result.latents)
