"""The gallery: contact sheets, and the page that shows them."""

import re

import pytest
from PIL import Image

from r2id.batch import gallery
from r2id.errors import InputError
from r2id.files import contact_sheets


def test_a_contact_sheet_keeps_every_pixel_of_every_picture():
    pictures = [Image.new("L", (5, 3), 50 * index) for index in range(5)]
    sheet = contact_sheets.contact_sheet(pictures, columns=2)
    assert sheet.size == (
        2 * (5 + contact_sheets.GAP) + contact_sheets.GAP,
        3 * (3 + contact_sheets.GAP) + contact_sheets.GAP,
    )
    for index in range(5):
        left = contact_sheets.GAP + index % 2 * (5 + contact_sheets.GAP)
        top = contact_sheets.GAP + index // 2 * (3 + contact_sheets.GAP)
        assert sheet.crop((left, top, left + 5, top + 3)).getcolors() == [(15, (50 * index,) * 3)]


def test_the_gallery_shows_the_same_latents_at_ten_sizes_and_every_sheet_on_its_page(
    monkeypatch, tmp_path, make_pipeline
):
    smaller = {(1024, 1024): (40, 40), (256, 256): (24, 24), (100, 100): (12, 12)}
    monkeypatch.setattr(gallery, "OUTPUT_SIZES", tuple(smaller.get(size, size) for size in gallery.OUTPUT_SIZES))
    experiments = tuple((smaller.get(a, a), smaller.get(b, b)) for a, b in gallery.EXPERIMENTS)
    monkeypatch.setattr(gallery, "EXPERIMENTS", experiments)
    monkeypatch.setattr(gallery, "FIELD_SIZES", ((2, 2), (3, 3)))
    page = gallery.write_gallery(of_digits_sizes(make_pipeline()), ["1", "2"], 0, tmp_path)
    shown = re.findall(r"<img src='([^']+)'", page.read_text(encoding="utf-8"))
    written = {path.name for path in tmp_path.glob("*.png")}
    assert set(shown) == written
    assert len(set(shown)) == len(shown) == 1 + 10 + len(experiments) + 1
    width = 2 * (18 + contact_sheets.GAP) + contact_sheets.GAP
    times = contact_sheets.PAGE_WIDTH // width
    assert Image.open(tmp_path / "same-latents-27x18.png").size == (times * width, times * (27 + 4))


def test_sizes_are_in_proportion_to_a_models_own_and_huge_ones_left_out(monkeypatch, tmp_path, make_pipeline):
    monkeypatch.setattr(gallery, "OUTPUT_SIZES", ((16, 16), (27, 18), (64, 64), (1024, 1024)))
    monkeypatch.setattr(gallery, "OVERVIEW_SIZES", ((16, 16), (64, 64)))
    monkeypatch.setattr(gallery, "EXPERIMENTS", (((4, 4), (32, 32)), ((200, 100), (32, 32))))
    monkeypatch.setattr(gallery, "FIELD_SIZES", ((4, 4), (16, 8)))
    pipeline = make_pipeline()
    pipeline.register_to_config(generation_defaults={"size": (64, 32), "latent_size": (4, 12)})
    sheets = gallery.write_sheets(pipeline, ["1"], 0, tmp_path)
    assert [sheet.name for sheet in sheets] == [
        "overview.png", "same-latents-32x16.png", "same-latents-54x18.png", "same-latents-128x64.png",
        "latents-2x6-to-64x32.png", "same-noise.png",
    ]  # fmt: skip
    assert sheets[0].caption.endswith("32x16, 128x64") and sheets[-1].caption.endswith("2x6, 8x12")
    assert sheets[1].heading == "One set of 4x12 latents at many sizes"


def of_digits_sizes(pipeline):
    pipeline.register_to_config(generation_defaults={"size": gallery.SIZE, "latent_size": gallery.LATENT_SIZE})
    return pipeline


def test_an_enlarged_sheet_has_every_pixel_as_a_square():
    sheet = Image.frombytes("L", (3, 2), bytes(range(6)))
    times = contact_sheets.PAGE_WIDTH // 3
    large = contact_sheets.enlarged(sheet)
    assert large.size == (3 * times, 2 * times)
    assert large.crop((times, times, 2 * times, 2 * times)).getcolors() == [(times * times, 4)]
    assert contact_sheets.enlarged(large) is not sheet and contact_sheets.enlarged(large).size == large.size


def test_a_model_of_pixels_has_no_gallery(tmp_path, make_pipeline):
    with pytest.raises(InputError, match="pixels"):
        gallery.write_gallery(make_pipeline(resampler=None), ["1"], 0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_titles_stand_before_the_rows_of_an_overview():
    rows = [[Image.new("L", (4, 4), level)] * 3 for level in (60, 120)]
    plain, titled = contact_sheets.overview(rows, side=32), contact_sheets.overview(rows, ["4x4", "10x10"], side=32)
    margin = titled.width - plain.width
    assert titled.height == plain.height and titled.crop((margin, 0, *titled.size)).tobytes() == plain.tobytes()
    for top in (0, 34):
        colours = titled.crop((0, top, margin, top + 34)).getcolors()
        assert max(level for _, (level, _, _) in colours) > 150
    assert titled.crop((0, 0, 4, titled.height)).getcolors() == [(4 * titled.height, contact_sheets.BETWEEN)]
