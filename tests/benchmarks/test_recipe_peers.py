"""The comparison of R2ID with a UNet and a DiT: equal data, any size, and figures that resume."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional

RECIPE = Path(__file__).parents[2] / "benchmarks" / "recipe"
SCRIPTS = ("peers", "peer_denoisers", "peer_pictures", "compare", "picture_codecs", "turns")


@pytest.fixture
def peers(monkeypatch):
    for name in SCRIPTS:
        sys.modules.pop(name, None)
    monkeypatch.syspath_prepend(str(RECIPE))
    import peers

    yield peers
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def write_pictures(folder: Path, captions: bool) -> Path:
    """Squares of two colours, on white if they have captions; else photographs of two proportions, labelled."""
    for split, count in (("train", 12), ("test", 8)):
        rows = []
        for number in range(count):
            colour = ("red", "blue")[number % 2]
            size = (40, 40) if captions else ((40, 48), (48, 40))[number % 2]
            picture = Image.new("RGB", size, "white" if captions else (10 * number, 90, 30))
            picture.paste(colour, (12, 12, 28 + number % 3, 28))
            path = folder / split / ("" if captions else colour) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
            rows.append({"file_name": path.name, "text": [f"{colour} square", f"a {colour} thing"]})
        if captions:
            (folder / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


class TestDenoisers:
    @pytest.fixture(params=[False, True], ids=["classes", "captions"])
    def networks(self, request, peers):
        from peer_denoisers import DiT, UNet

        from r2id.training.conditioners import conditioning_parts

        captions = conditioning_parts("words", ["red heart", "blue cat"], 2, 8)[1] if request.param else None
        torch.manual_seed(0)
        return UNet(2, captions, 8, (16, 16, 16, 32)), DiT(2, captions, 8, 5, 4, layers=1)

    def test_losses_are_finite_and_reach_every_part(self, networks):
        for network, shape in zip(networks, ((3, 16, 16), (5, 4, 4)), strict=True):
            torch.manual_seed(1)
            for weight in (network.network.parameters()) if shape[0] == 5 else ():
                torch.nn.init.normal_(weight, 0, 0.1)
            loss = network(torch.randn(4, *shape), torch.tensor([0, 1, 0, 1]), shape[1:])
            loss.backward()
            without = [name for name, one in network.named_parameters() if one.grad is None]
            assert loss.isfinite() and not without

    def test_pictures_of_any_size_follow_the_label_and_the_seed(self, networks):
        for network, shapes in zip(networks, (((3, 8, 8), (3, 16, 32)), ((5, 4, 4), (5, 3, 6))), strict=True):
            for weight in network.network.parameters():
                torch.nn.init.normal_(weight, 0, 0.1)
            for shape in shapes:
                made = [
                    network.eval().sample(
                        torch.tensor(labels), shape, 2, 2.0, (0, 1), torch.Generator().manual_seed(seed)
                    )
                    for labels, seed in (([0, 1], 0), ([0, 1], 0), ([1, 0], 0), ([0, 1], 1))
                ]
                assert made[0].shape == (2, *shape) and made[0].isfinite().all() and torch.equal(made[0], made[1])
                assert not torch.allclose(made[0], made[2]) and not torch.allclose(made[0], made[3])

    def test_on_squares_the_dit_is_that_of_diffusers(self, peers):
        from diffusers import DiTTransformer2DModel
        from peer_denoisers import DiT

        network = DiT(2, None, 8, 5, 4, layers=2).network.eval()
        for weight in network.parameters():
            torch.nn.init.normal_(weight, 0, 0.1)
        told = {"timestep": torch.tensor([100.0, 500.0]), "class_labels": torch.tensor([0, 2])}
        for side in (4, 8):
            samples = torch.randn(2, 5, side, side)
            own = DiTTransformer2DModel.forward(network, samples, **told).sample
            assert torch.equal(network(samples, **told).sample, own)

    def test_perfect_predictions_cost_nothing(self, peers, monkeypatch):
        from peer_denoisers import DiT

        network, clean = DiT(2, None, 8, 5, 4, layers=1), torch.randn(3, 5, 4, 4)
        monkeypatch.setattr(network, "predict", lambda noisy, alpha_bar, labels: clean)
        assert network(clean, torch.tensor([0, 1, 1]), (4, 4)) == 0


class TestPictures:
    def test_photographs_are_cut_and_drawings_widened(self, peers):
        from peer_pictures import fitted, white_edges

        picture = torch.rand(1, 3, 12, 16) - 1
        assert torch.equal(fitted(picture, (12, 12), False), picture[..., 2:14])
        wider = fitted(picture, (12, 24), True)
        assert torch.equal(wider[..., 4:20], picture) and (wider[..., :4] == 1).all() and (wider[..., 20:] == 1).all()
        assert torch.equal(fitted(picture, (6, 16), False), picture[..., 3:9, :])
        assert not white_edges(picture) and white_edges(functional.pad(picture, (1,) * 4, value=1.0))

    @pytest.mark.parametrize("captions", [False, True])
    def test_labels_are_numbered_alike_in_both_splits(self, peers, tmp_path, captions):
        from peer_pictures import Real

        data = Real.of(write_pictures(tmp_path, captions), 16)
        assert data.of_captions == data.drawings == captions
        assert data.train.images.shape == (12, 3, 16, 16) and data.at((16, 32)).shape == (8, 3, 16, 32)
        # The middle of a picture has its colour.
        for pictures, labels in (
            (data.train.batch(slice(None)), data.train.labels.reshape(12, -1)[:, 0]),
            (data.at((16, 16)), data.test_labels),
        ):
            red = pictures[:, 0, 8, 8] > pictures[:, 2, 8, 8]
            assert [("red" in data.names[label]) for label in labels] == red.tolist()


@pytest.mark.parametrize("captions", [False, True])
def test_a_run_measures_every_network_and_size_and_resumes(peers, tmp_path, monkeypatch, capsys, captions):
    import peer_denoisers

    tiny = {"dim": 16, "num_heads": 2, "encoder_blocks": 1, "decoder_blocks": 1, "time_dim": 8}
    monkeypatch.setattr(peers, "MODEL", peers.MODEL | tiny)
    for name, value in (("SIDE", 16), ("GRID", (2, 2)), ("SIZES", ((16, 16), (16, 32)))):
        monkeypatch.setattr(peers, name, value)
    for widths in ("CLASS_WIDTHS", "CAPTION_WIDTHS"):
        monkeypatch.setattr(peer_denoisers, widths, (16, 16, 16, 16))

    class StandIn(torch.nn.Module):
        def forward(self, pictures):
            return functional.adaptive_avg_pool2d(pictures, 4).flatten(1)

    monkeypatch.setattr(peers, "ColourFeatures", StandIn)
    adapted = []
    monkeypatch.setattr(peers, "adapt_to", lambda _, data, sizes: adapted.append(([len(one) for one in data], sizes)))
    folder = write_pictures(tmp_path / "data", captions)
    arguments = ["--data", f"squares={folder}", "--seconds", "1e-6", "--batch", "4", "--count", "6"]
    arguments += ["--inference-steps", "2", "--threads", "1", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["peers.py", *arguments, "--results", str(tmp_path / "results")])
    peers.main()
    file = tmp_path / "results" / "peers-squares.json"
    results = json.loads(file.read_text())
    assert results["command"] == (
        "python benchmarks/recipe/peers.py --data squares=SQUARES --seconds 1e-6 --batch 4 --count 6 "
        "--inference-steps 2 --threads 1"
    )
    found = [(row["network"], row["pictures"]) for row in results["rows"]]
    every = {(name, size) for name in ("real", "R2ID", "UNet", "DiT") for size in ("16x16", "16x32")}
    assert set(found) == every | {("R2ID, latents as dense", "16x32")} and len(found) == 9
    assert all(row["distance"] > 0 for row in results["rows"])
    assert all(row["steps"] == 1 for row in results["rows"] if row["network"] != "real")
    assert len(list((tmp_path / "out" / "squares").glob("*.png"))) == 7
    assert "| UNet |" in capsys.readouterr().out
    assert adapted == [([12], [(2, 2)])]
    # What is there is not measured again, and what is not is the same.
    file.write_text(json.dumps(results | {"rows": results["rows"][:4]}))
    peers.main()
    assert json.loads(file.read_text()) == results


def test_the_table_has_ratios_to_the_unet(peers):
    rows = [
        {"network": "real", "pictures": "16x16", "distance": 1.0},
        {"network": "R2ID", "pictures": "16x16", "distance": 6.0, "steps": 5, "parameters": 4_200_000},
        {"network": "UNet", "pictures": "16x16", "distance": 8.0, "steps": 3, "parameters": 4_100_000},
    ]
    lines = peers.table(rows).splitlines()
    assert lines[2:] == ["| real | – | – | 1.0 |", "| R2ID | 4.2 M | 5 | 6.0 (0.75) |", "| UNet | 4.1 M | 3 | 8.0 |"]
