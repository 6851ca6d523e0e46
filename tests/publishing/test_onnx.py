"""ONNX graphs give in ONNX Runtime what the networks give in torch, at sizes that they were not traced at."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy
import onnxruntime
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from r2id import cli
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.geometry.sizes import size_text
from r2id.publishing.onnx import Decoder, Diffuser, _Graph, export_onnx

EXAMPLE = Path(__file__).parents[2] / "examples" / "sample_without_torch.py"
PUBLISHED = {"jitter": "sampled", "feature_map": "elu"}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module", params=["local", "published", "pictures"])
def pipeline(request, make_pipeline, make_resampler):
    """The default form, which takes the canvas of the size, the published one with a canvas of its own, and the one for
    pictures, which has local kernels in its blocks and predicts clean samples."""
    torch.manual_seed(0)
    if request.param == "pictures":
        return make_pipeline(prediction_type="sample", local_radius=0.3, attention="softmax", qk_norm=True)
    if request.param == "local":
        return make_pipeline()
    published = {"radius": None, "prediction_type": "epsilon", "noise_reference_size": None, "canvas": (3, 4)}
    ddim = DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False)
    return make_pipeline(make_resampler(attention="global", **PUBLISHED), scheduler=ddim, **PUBLISHED, **published)


@pytest.fixture(scope="module")
def exported(pipeline, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    pipeline.save_pretrained(folder / "pipeline")
    arguments = ["r2id", "export", "--model", str(folder / "pipeline"), "--output", str(folder / "onnx")]
    with patch.object(sys, "argv", arguments):
        cli.main()
    return folder / "onnx"


def run(file: Path, **inputs: torch.Tensor) -> torch.Tensor:
    (output,) = onnxruntime.InferenceSession(file).run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(output)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("size", "canvas"),
    [
        ((1, 1), (1, 3)),
        ((2, 2), (27, 18)),
        ((4, 4), (1, 1)),
        ((9, 3), (1, 1)),
        ((1, 6), (3, 1)),
        ((13, 16), (13, 16)),
    ],
)
@pytest.mark.parametrize("guidance_scale", [1.0, 4.5])
def test_a_prediction_is_torchs_at_any_latent_size_and_proportions(
    pipeline, exported, batch, size, guidance_scale, canvas
):
    sample, alpha_bar, labels = torch.randn(batch, 3, *size), torch.rand(batch), torch.randint(10, (batch,))
    inputs = {"sample": sample, "alpha_bar": alpha_bar, "labels": labels}
    how = {"guidance_scale": torch.tensor(guidance_scale), "canvas": torch.tensor(canvas)}
    found = run(exported / "diffuser.onnx", **inputs, **how)
    with torch.no_grad():
        without = pipeline.diffuser(sample, alpha_bar, pipeline.conditioner(torch.full_like(labels, 10)), canvas)
        expected = pipeline.diffuser(sample, alpha_bar, pipeline.conditioner(labels), canvas)
    assert expected.std() > 0.05 and (expected - without).std() > 1e-3
    torch.testing.assert_close(found, without + guidance_scale * (expected - without), **CLOSE)


@pytest.mark.parametrize("latent_size", [(1, 1), (4, 4), (3, 8), (12, 2)])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (5, 7), (27, 18), (3, 70)])
@pytest.mark.parametrize("canvas", [(1, 1), (27, 18), (1, 3)])
def test_a_picture_is_torchs_at_any_size_and_proportions(pipeline, exported, latent_size, size, canvas):
    latents = torch.rand(2, 3, *latent_size) * 2 - 1
    found = run(
        exported / "decoder.onnx",
        latents=latents,
        size=torch.tensor(size),
        rows=torch.arange(size[0]),
        columns=torch.arange(size[1]),
        canvas=torch.tensor(canvas),
    )
    with torch.no_grad():
        torch.testing.assert_close(found, pipeline.resampler.decode(latents, size, canvas), **CLOSE)


def test_a_region_of_a_large_picture_is_torchs(pipeline, exported):
    latents = torch.rand(1, 3, 4, 5) * 2 - 1
    size, canvas, (rows, columns) = torch.tensor([9000, 20000]), torch.tensor([9, 20]), map(torch.arange, (50, 60))
    place = {"size": size, "canvas": canvas, "rows": rows + 7000, "columns": columns + 1200}
    with torch.no_grad():
        expected = pipeline.resampler.field(latents, (9, 20)).render((9000, 20000), (7000, 1200, 7050, 1260))
    torch.testing.assert_close(run(exported / "decoder.onnx", latents=latents, **place), expected, **CLOSE)


def test_axes_have_names(exported):
    (prediction,) = onnxruntime.InferenceSession(exported / "diffuser.onnx").get_outputs()
    (pixels,) = onnxruntime.InferenceSession(exported / "decoder.onnx").get_outputs()
    assert (prediction.name, prediction.shape) == ("prediction", ["batch", 3, "height", "width"])
    assert (pixels.name, pixels.shape) == ("pixels", ["batch", 1, "height", "width"])


@pytest.mark.parametrize(
    ("latent_size", "sizes", "canvas"), [((4, 4), [(32, 32), (96, 64)], None), ((3, 7), [(20, 40)], (1, 3))]
)
def test_the_example_samples_without_torch_as_the_pipeline_does_by_ddim(
    pipeline, exported, latent_size, sizes, canvas, tmp_path
):
    blocked = "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0])"
    arguments = [EXAMPLE, exported, tmp_path, "--latent-size", size_text(latent_size)]
    arguments += [text for size in sizes for text in ("--size", size_text(size))]
    arguments += ["--canvas", size_text(canvas)] if canvas else []
    subprocess.run([sys.executable, "-c", blocked, *map(str, arguments)], check=True)
    noise = numpy.random.default_rng(0).standard_normal((10, 3, *latent_size), numpy.float32)
    by_ddim = R2Pipeline(pipeline.diffuser, pipeline.conditioner, pipeline.resampler)
    by_ddim.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    expected = by_ddim(range(10), size=sizes, latents=torch.from_numpy(noise), canvas=canvas).images
    for (height, width), pictures in zip(sizes, expected, strict=True):
        sheet = numpy.asarray(Image.open(tmp_path / f"{height}x{width}.png")).astype(int)
        together = numpy.concatenate([numpy.asarray(picture) for picture in pictures], axis=1)
        assert together.std() > 1
        assert abs(sheet - together).max() <= 2


def test_a_model_of_pixels_has_no_decoder(make_pipeline, tmp_path):
    pipeline = make_pipeline(resampler=None)
    with patch.multiple(_Graph, write=lambda graph, path: path.touch(), difference=lambda graph, path: 0.0):
        assert list(export_onnx(pipeline, tmp_path)) == ["diffuser.onnx"]
    model = json.loads((tmp_path / "model.json").read_text())
    assert model["decoder"] is None and model["channels"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diffuser.onnx", "model.json"]


def test_a_graph_that_differs_from_torch_is_not_written(make_pipeline, exported, monkeypatch, tmp_path):
    (tmp_path / "diffuser.onnx").write_text("an older one")
    torch.manual_seed(1)
    other = make_pipeline()
    monkeypatch.setattr(_Graph, "write", lambda graph, path: shutil.copy(exported / graph.name, path))
    with pytest.raises(RuntimeError, match="diffuser.onnx differs from torch by"):
        export_onnx(other, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("diffuser.onnx", "an older one")]


def test_a_scheduler_without_a_noise_schedule_is_refused(make_pipeline, tmp_path):
    with pytest.raises(InputError, match="FlowMatchEulerDiscreteScheduler is not of a variance-preserving process"):
        export_onnx(make_pipeline(scheduler=FlowMatchEulerDiscreteScheduler()), tmp_path)


def command(capsys, monkeypatch, *arguments) -> str:
    """Standard error of `r2id export` with these arguments, which must end with status 2."""
    monkeypatch.setattr(sys, "argv", ["r2id", "export", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_named_before_the_work(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(_Graph, "write", None)
    error = command(capsys, monkeypatch, "--output", tmp_path / "file")
    assert error == f"r2id: {tmp_path / 'file'} cannot be read or written: {tmp_path / 'file'} is not a folder\n"


def test_a_missing_runtime_is_named_with_its_remedy(capsys, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "r2id.publishing.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    error = command(capsys, monkeypatch, "--output", tmp_path / "onnx")
    assert error == "r2id: onnxruntime is not installed, or not whole; pip install 'r2id[onnx]'\n"
    assert not (tmp_path / "onnx").exists()


def test_a_resampler_alone_is_refused_in_one_sentence(make_resampler, capsys, monkeypatch, tmp_path):
    make_resampler().save_pretrained(tmp_path / "resampler")
    error = command(capsys, monkeypatch, "--model", tmp_path / "resampler", "--output", tmp_path / "onnx")
    assert error.startswith("r2id: ") and error.count("\n") == 1 and "model_index.json" in error


@pytest.mark.parametrize(
    ("form", "sentence"), [("splats", "r2id sample --output FILE.svg"), ("pyramid", "the decoder of a pyramid is not")]
)
def test_decoders_without_a_graph_are_refused(form, sentence, make_pipeline, make_resampler, make_pyramid, tmp_path):
    resampler = make_pyramid() if form == "pyramid" else make_resampler(attention="splats", latent_channels=14)
    with pytest.raises(InputError, match=sentence):
        export_onnx(make_pipeline(resampler, channels=resampler.config.latent_channels), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_functions_that_are_exported_are_those_of_the_pipeline(make_pipeline):
    pipeline = make_pipeline()
    sample, alpha_bar, labels = torch.randn(2, 3, 4, 4), torch.rand(2), torch.tensor([3, 7])
    diffuser, decoder = Diffuser(pipeline.diffuser, pipeline.conditioner), Decoder(pipeline.resampler)
    with torch.no_grad():
        expected = pipeline.diffuser(sample, alpha_bar, pipeline.conditioner(labels))
        torch.testing.assert_close(
            diffuser(sample, alpha_bar, labels, torch.tensor(1.0), torch.tensor([1, 1])), expected, **CLOSE
        )
        place = torch.tensor([6, 9]), torch.arange(6), torch.arange(9), torch.tensor([2, 3])
        torch.testing.assert_close(decoder(sample, *place), pipeline.resampler.decode(sample, (6, 9)), **CLOSE)
