"""The showcase: every picture is on its page, with the figures that were measured."""

import csv
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from r2id.batch import gallery
from r2id.data.loading import load_images
from r2id.errors import InputError
from r2id.evaluation.denoising_error import measure_denoising_error
from r2id.evaluation.reconstruction import METHODS
from r2id.geometry.sizes import size_text

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"
SETTINGS = {
    "data": "digits", "quick": True, "count": 60, "limit": 5, "consistency": 5, "denoising_error": 2,
    "image_size": None,
    "latent_size": [[2, 3], [4, 4]], "size": [[8, 8]], "guidance_interval": [0.3, 0.8],
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_denoising_error(monkeypatch, showcase):
    monkeypatch.setattr(showcase, "DENOISING_ERROR", ((2, 2), (3, 2)))


def test_the_page_shows_every_picture_and_figure(monkeypatch, tmp_path, make_pipeline, showcase):
    monkeypatch.setattr(gallery, "OUTPUT_SIZES", ((8, 8), (10, 10)))
    monkeypatch.setattr(gallery, "OVERVIEW_SIZES", ((8, 8),))
    monkeypatch.setattr(gallery, "EXPERIMENTS", (((2, 3), (8, 8)),))
    monkeypatch.setattr(gallery, "FIELD_SIZES", ((2, 2), (3, 3)))
    folder = tmp_path / "gallery"
    folder.mkdir()
    pipeline = make_pipeline(canvas=(32, 32))
    pipeline.register_to_config(generation_defaults={"latent_size": gallery.LATENT_SIZE})
    figures = {
        "settings": SETTINGS | {"weights": pipeline.checksum()},
        "reconstruction": [
            {"latents": latents, "pictures": size, "MSE": error, "PSNR": None, "method": METHODS[method]}
            for latents, size, error, method in (
                ("4x4", "32x32", 0.00123456, 0), ("4x4", "8x8", 0.002, 0), ("14x14", "32x32", 0.003, 0),
                ("4x4", "32x32", 0.004, 2),
            )
        ],
        "generation": [{"latents": "2x3", "pictures": "8x8", "accuracy": 0.987, "recall": None}],
        "denoising_error": [
            {"latents": "2x3", "label": label, "t": time, "error": 0.5}
            for label in ("given", "dropped") for time in (0, 0.5)
        ],
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(figures))
    (folder / "more").mkdir()
    more = {
        "settings": figures["settings"] | {"count": 7, "limit": 3, "guidance_interval": None},
        "reconstruction": [{"latents": "8x8", "pictures": "32x32", "MSE": 0.005, "method": METHODS[0]}],
        "generation": [{"latents": "2x3", "pictures": "8x8", "accuracy": 0.25}],
    }
    (folder / "more" / "evaluation.json").write_text(json.dumps(more))
    data = load_images(DIGITS, "test", image_size=(32, 32), limit=12)
    (tmp_path / "ablations.md").write_text("")
    page = showcase.write_showcase(pipeline, data, 0, folder, {"model": "a model", "precision": "bf16"})
    assert page == tmp_path / "gallery.md"
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"\]\(gallery/([^)]+)\)", text)
    assert len(set(shown)) == len(shown)
    assert set(shown) == {path.name for path in folder.glob("*.png")}
    own, inside = text.split("(more)", maxsplit=1)
    *_, last = own.split("\n### ")
    assert "| latents | 32x32 | 8x8 |\n|---|---|---|\n| 4x4 | 0.001235 | 0.002 |\n| 14x14 | 0.003 | – |" in text
    assert last.startswith(METHODS[2]) and "| 4x4 | 0.004 | – |" in last and "| 0.5 |" not in text
    beside = text.index("latents-2x3-to-8x8.png")
    assert beside < text.index("60 generated pictures: accuracy 0.987, recall –.") < text.index("same-noise.png")
    assert beside < text.index("7 generated pictures: accuracy 0.25.") < text.index("same-noise.png")
    assert text.index("reconstructions.png") < text.index(
        "- 4x4 latents, reconstruction of 5 images, in [-1, 1]: MSE 0.001235, PSNR –\n- 14x14 latents, reconstruction "
        "of 5 images, in [-1, 1]: MSE 0.003, PSNR –\n- 8x8 latents, reconstruction of 3 images, in [-1, 1]: MSE 0.005\n"
    )
    assert "| 8x8 | 0.005 |" in inside and "## Figures: 7 generated pictures (more)" in inside
    assert "denoising-error.png" in shown and "noisy latents of 2 test images" in text
    assert "[ablations](ablations.md#r2ir-global-blocks-in-each-direction-4000-steps-on-images-of-16x16)" in text
    (block,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    evaluated, again, shown = (shlex.split(line) for line in block.replace("\\\n", " ").splitlines())
    assert evaluated == shlex.split(
        "r2id evaluate --data FOLDER --guidance-interval 0.3 0.8 --quick --count 60 --limit 5 --denoising-error 2 "
        f"--latent-size 2x3 --latent-size 4x4 --size 8x8 --output '{folder}'"
    )
    assert again[-2:] == ["--output", str(folder / "more")] and again[again.index("--count") + 1] == "7"
    assert shown == [
        *(
            "python",
            "benchmarks/showcase/run.py",
            "--data",
            "FOLDER",
            "--model",
            "a model",
            "--precision",
            "bf16",
            "--seed",
            "0",
        ),
        *("--output", str(folder)),
    ]

    figures["settings"]["weights"] = 0
    (folder / "evaluation.json").write_text(json.dumps(figures))
    others = showcase.write_showcase(pipeline, data, 0, folder).read_text(encoding="utf-8")
    assert "60 generated pictures" not in others and "7 generated pictures" in others
    (folder / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match="evaluation.json cannot be read as figures"):
        showcase.write_showcase(pipeline, data, 0, folder)


def test_without_figures_the_page_has_every_picture_and_measures_the_denoising_error(
    monkeypatch, tmp_path, make_pipeline, showcase
):
    monkeypatch.setattr(showcase, "write_sheets", lambda *arguments: [])
    data = load_images(DIGITS, "test", image_size=(32, 32), limit=12)
    pipeline, folder = make_pipeline(canvas=(32, 32)), tmp_path / "pictures"
    text = showcase.write_showcase(pipeline, data, 5, folder).read_text(encoding="utf-8")
    assert "Figures" not in text and "noisy latents of 12 test images" in text
    assert set(re.findall(r"\]\(pictures/([^)]+)\)", text)) == {path.name for path in folder.glob("*.png")}
    with (folder / "denoising-error.csv").open() as file:
        kept = list(csv.DictReader(file))
    measured = [
        row for size in showcase.DENOISING_ERROR for row in measure_denoising_error(pipeline, data, size, seed=5)
    ]
    assert [float(row["error"]) for row in kept] == [row["error"] for row in measured]


def test_what_is_written_by_hand_above_the_digits_stays(monkeypatch, tmp_path, make_pipeline, showcase):
    monkeypatch.setattr(showcase, "write_sheets", lambda *arguments: [])
    data = load_images(DIGITS, "test", image_size=(32, 32), limit=12)
    above = "# Gallery\n\n## In colour\n\nA red heart.\n\n"
    (tmp_path / "pictures.md").write_text(above + showcase.BELOW + "\n\nFigures of old weights.\n", encoding="utf-8")
    page = showcase.write_showcase(make_pipeline(canvas=(32, 32)), data, 0, tmp_path / "pictures")
    text = page.read_text(encoding="utf-8")
    assert text.startswith(above + showcase.BELOW + "\n\n## Digits\n") and "old weights" not in text


def test_images_without_labels_have_no_denoising_error_and_all_other_pictures(
    monkeypatch, tmp_path, capsys, make_pipeline, showcase
):
    monkeypatch.setattr(showcase, "write_sheets", lambda *arguments: [])
    data = replace(load_images(DIGITS, "test", image_size=(32, 32), limit=12), labels=None)
    page = showcase.write_showcase(make_pipeline(canvas=(32, 32)), data, 0, tmp_path / "pictures")
    assert "Denoising error" not in (text := page.read_text(encoding="utf-8")) and "reconstructions.png" in text
    assert "denoising error cannot be measured: the data" in capsys.readouterr().err


def test_remarks_are_shown_only_beside_the_pictures_they_are_about(monkeypatch, tmp_path, make_pipeline, showcase):
    monkeypatch.setattr(showcase, "write_sheets", lambda *arguments: [])
    data = load_images(DIGITS, "test", image_size=(32, 32), limit=12)
    pipeline, folder = make_pipeline(canvas=(32, 32)), tmp_path / "pictures"
    folder.mkdir()
    about = {"seed": 3, "weights": pipeline.checksum()}
    (folder / "remarks.json").write_text(json.dumps({"about": about, "remarks": {"variety.png": "A crooked 5."}}))
    shown = {seed: showcase.write_showcase(pipeline, data, seed, folder).read_text(encoding="utf-8") for seed in (3, 4)}
    assert shown[3].index("variety.png") < shown[3].index("A crooked 5.") < shown[3].index("reconstructions.png")
    assert "A crooked 5." not in shown[4]
    with torch.no_grad():
        next(pipeline.diffuser.parameters()).add_(1)
    assert "A crooked 5." not in showcase.write_showcase(pipeline, data, 3, folder).read_text(encoding="utf-8")


def test_figures_of_every_published_experiment_stand_beside_its_picture(showcase):
    rows = {"generation": [], "reconstruction": []}
    for latents, size in gallery.EXPERIMENTS:
        shown = {"latents": size_text(latents), "pictures": size_text(size)}
        rows["generation"].append(shown | {"accuracy": len(rows["generation"]) / 100})
        sheet = gallery.Sheet("", "", "", (latents, size))
        (note,) = showcase._generated(sheet, [showcase.Evaluation(Path(), SETTINGS, rows)])
        assert note == f"60 generated pictures: accuracy {rows['generation'][-1]['accuracy']:.4g}."
