"""A local folder with the name of bundled weights: its model, a sentence, or the bundled weights with a line."""

import pytest

from r2id.cli.models import load_encoder
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.networks.resampler import R2IR


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("left", ["resampler/config.json", "diffuser/diffusion_pytorch_model.safetensors"])
def test_a_folder_with_parts_of_a_model_is_refused(folder, left):
    (folder / "mnist" / left).parent.mkdir(parents=True)
    (folder / "mnist" / left).write_bytes(b"")
    with pytest.raises(
        InputError, match=r"^mnist is a folder with a part of a model and without model_index.json; "
    ) as said:
        R2Pipeline.from_pretrained("mnist")
    assert "\n" not in str(said.value)


def test_a_folder_of_other_things_leaves_the_bundled_weights_and_is_told(folder, caplog):
    (folder / "mnist").mkdir()
    (folder / "mnist" / "train-images-idx3-ubyte").write_bytes(b"")
    R2Pipeline.from_pretrained("mnist")
    assert caplog.messages == ["the folder mnist holds no model, so the bundled weights mnist are taken"]


def test_without_such_a_folder_nothing_is_told(caplog):
    R2Pipeline.from_pretrained("mnist")
    assert not caplog.messages


def test_a_pipeline_comes_before_a_bundled_network(folder, make_pipeline):
    pipeline = make_pipeline()
    pipeline.save_pretrained("pictures")
    resampler, _ = load_encoder("pictures", None, "cpu")
    assert resampler.checksum() == pipeline.resampler.checksum()
    with pytest.raises(InputError, match=r"pictures holds no config.json"):
        R2IR.from_pretrained("pictures")


def test_a_network_comes_before_a_bundled_pipeline(folder, make_resampler):
    make_resampler().save_pretrained("mnist")
    with pytest.raises(InputError, match=r"mnist holds no model_index.json"):
        R2Pipeline.from_pretrained("mnist")
