"""An SVG of splats in Chromium beside our own rendering; run by `make test-browser`."""

import subprocess

import numpy
import torch
from PIL import Image

from browsing import CHROMIUM, IN_A_BROWSER
from r2id.fields.splats import SplatField
from r2id.files.splats import write_splats
from r2id.geometry.splats import Splats

pytestmark = IN_A_BROWSER
SIDE = 512


def test_chromium_shows_the_same_picture(tmp_path):
    """Two splats of any shape and colour for each of 8×8 tokens; browsers add their opacities in 8 bits."""
    places = (torch.cartesian_prod(torch.arange(8), torch.arange(8)).repeat(2, 1) + 0.5) / 8 - 0.5
    count = len(places)
    splats = Splats.of_ellipses(
        (places + 0.05 * torch.randn(count, 2))[None],
        0.04 * (0.7 * torch.randn(1, count, 2)).exp(),
        3 * torch.rand(1, count),
        2 * torch.rand(1, count, 3) - 1,
        torch.randn(1, count).exp(),
    )
    write_splats(tmp_path / "a.svg", splats)
    page, shot = tmp_path / "a.html", tmp_path / "a.png"
    page.write_text(f'<body style="margin:0"><img src="a.svg" width="{SIDE}" height="{SIDE}">', encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1")
    subprocess.run(
        [CHROMIUM, *options, f"--window-size={SIDE},{SIDE + 100}", f"--screenshot={shot}"]
        + [f"--user-data-dir={tmp_path / 'browser'}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    shown = numpy.asarray(Image.open(shot).convert("RGB"))[:SIDE]
    error = torch.from_numpy(shown.copy()).movedim(-1, 0) / 127.5 - 1 - SplatField(splats).render((SIDE, SIDE))[0]
    assert 10 * torch.log10(4 / error.square().mean()) > 28
