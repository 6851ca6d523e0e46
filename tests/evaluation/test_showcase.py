"""The showcase: every picture is on its page, with the figures that were measured."""

import json
import re
from pathlib import Path

import pytest
import torch

from r2id import gallery
from r2id.errors import InputError
from r2id.evaluation import showcase
from r2id.training.data import load_images

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"


def test_the_page_shows_every_picture_and_figure(monkeypatch, tmp_path, make_pipeline):
    monkeypatch.setattr(gallery, "OUTPUT_SIZES", ((8, 8), (10, 10)))
    monkeypatch.setattr(gallery, "OVERVIEW_SIZES", ((8, 8),))
    monkeypatch.setattr(gallery, "EXPERIMENTS", (((2, 3), (8, 8)),))
    monkeypatch.setattr(gallery, "FIELD_SIZES", ((2, 2), (3, 3)))
    folder = tmp_path / "gallery"
    folder.mkdir()
    pipeline = make_pipeline(canvas=(32, 32))
    figures = {
        "settings": {"weights": pipeline.checksum()},
        "errors": [{"latents": "4x4", "MSE": 0.00123456}],
        "60 pictures": [{"latents": "2x3", "pictures": "8x8", "recognised": 0.987}],
        "t-scrape of 2 images": [{"t": 0.5}],
    }
    (folder / "evaluation.json").write_text(json.dumps(figures))
    (folder / "t-scrape.png").write_bytes(b"")
    data = load_images(DIGITS, "test", image_size=(32, 32), limit=12)
    page = showcase.write_showcase(pipeline, data, 0, folder)
    assert page == tmp_path / "gallery.md"
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"\]\(gallery/([^)]+)\)", text)
    assert len(set(shown)) == len(shown)
    assert set(shown) == {path.name for path in folder.glob("*.png")}
    assert "| 4x4 | 0.001235 |" in text and "| 0.5 |" not in text
    assert text.index("latents-2x3-to-8x8.png") < text.index("60 pictures: recognised 0.987.")

    figures["settings"] = {"weights": 0}
    (folder / "evaluation.json").write_text(json.dumps(figures))
    assert "Figures" not in showcase.write_showcase(pipeline, data, 0, folder).read_text(encoding="utf-8")
    (folder / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match="evaluation.json is damaged"):
        showcase.write_showcase(pipeline, data, 0, folder)


def test_without_figures_the_page_has_pictures_only(monkeypatch, tmp_path, make_pipeline):
    monkeypatch.setattr(showcase, "write_sheets", lambda *arguments: [])
    data = load_images(DIGITS, "test", image_size=(32, 32), limit=12)
    page = showcase.write_showcase(make_pipeline(canvas=(32, 32)), data, 0, tmp_path / "pictures")
    assert "Figures" not in page.read_text(encoding="utf-8")


def test_remarks_are_shown_only_beside_the_pictures_they_are_about(monkeypatch, tmp_path, make_pipeline):
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
