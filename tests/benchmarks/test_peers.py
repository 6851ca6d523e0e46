"""The peers of R2IR on photographs: each learns, is what its paper says, and files have the bytes that are counted."""

import random
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

PICTURES = Path(__file__).parents[2] / "benchmarks" / "pictures"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    sys.path.insert(0, str(PICTURES))
    yield
    sys.path.remove(str(PICTURES))
    for name in ("peers", "peer_networks", "codec", "measure"):
        sys.modules.pop(name, None)


@pytest.fixture
def networks():
    import peer_networks

    torch.manual_seed(0)
    autoencoder = peer_networks.Autoencoder((16, 16, 16, 16, 16), latent_channels=8)
    enlarging = peer_networks.SuperResolution(channels=8, blocks=2, hidden=8)
    torch.nn.init.normal_(enlarging.head[-1].weight)
    return autoencoder.eval(), enlarging.eval()


@pytest.fixture
def photographs():
    ramp = torch.linspace(0, 255, 128).expand(3, 110, 128)
    return [(ramp * share).byte() for share in (0.3, 0.6, 1.0)]


def test_every_network_trains_and_goes_on_where_it_stopped(photographs, tmp_path, monkeypatch):
    import peer_networks
    import peers

    from r2id import R2IR

    monkeypatch.setattr(peers, "CELLS", 2)
    small = {
        "R2IR": lambda: R2IR(
            3, 64, "pyramid", widths=(16, 48, 64, 80), encoder_blocks=(1,) * 4, decoder_blocks=(1,) * 4
        ),
        "AutoencoderKL": lambda: peer_networks.Autoencoder((16, 16, 16, 16, 16), latent_channels=8),
        "EDSR-LIIF": lambda: peer_networks.SuperResolution(channels=8, blocks=2, hidden=8),
    }
    assert set(small) == set(peers.PEERS)
    for name, make in small.items():
        peer = peers.Peer(make, peers.PEERS[name].loss, 1e-3)
        training = peers.Training(peer, 1e-6, 2, tmp_path / f"{name}.pt")
        before = [one.clone() for one in training.network.parameters()]
        training.turn(photographs, 1)
        assert training.steps == 1 and training.spent >= training.seconds
        after = list(training.network.parameters())
        assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
        again = peers.Training(peer, 1e-6, 2, tmp_path / f"{name}.pt")
        assert (again.steps, again.spent) == (training.steps, training.spent)
        assert all(torch.equal(*pair) for pair in zip(after, again.network.parameters(), strict=True))


def test_all_networks_see_the_same_crops(photographs):
    import peers

    one, other = (peers.crops(photographs, 3, 32, random.Random(5)) for _ in range(2))
    assert torch.equal(one, other) and one.shape == (3, 3, 32, 32)
    given, truth = peers.to_enlarge(photographs, 2, random.Random(1))
    assert given.shape[-1] == peers.FEWER * peers.CELLS <= truth.shape[-1]


def test_untrained_super_resolution_is_bicubic():
    import peer_networks

    picture = torch.rand(1, 3, 9, 12) * 2 - 1
    expected = functional.interpolate(picture, (20, 31), mode="bicubic", antialias=True)
    assert torch.equal(peer_networks.SuperResolution(8, 1, 8)(picture, (20, 31)), expected)


def test_the_head_answers_a_grid_in_parts_as_in_the_whole(networks):
    _, network = networks
    picture = torch.rand(1, 3, 9, 12) * 2 - 1
    features = network.features(picture)
    rows, columns = (torch.arange(27) + 0.5) / 3, (torch.arange(36) + 0.5) / 3
    whole = network.read(features, rows, columns, (1 / 3, 1 / 3))
    part = network.read(features, rows[5:19], columns[7:30], (1 / 3, 1 / 3))
    torch.testing.assert_close(part, whole[:, :, 5:19, 7:30], rtol=0, atol=1e-5)


def test_the_head_is_liifs(networks):
    """Against the paper's formula, pixel by pixel, with the 3×3 features unfolded for every place."""
    _, network = networks
    picture = torch.rand(1, 3, 6, 7) * 2 - 1
    plain = network.last(_body(network, picture)) + network.enter(picture)
    unfolded = functional.unfold(plain, 3, padding=1).unflatten(2, (6, 7))
    rows, columns, cell = torch.tensor([0.2, 2.6, 5.9]), torch.tensor([1.5, 3.1, 6.8]), (0.4, 0.5)
    found = network.read(network.features(picture), rows, columns, cell)
    first = network.unfolded.weight.flatten(1)
    for i, y in enumerate(rows.tolist()):
        for j, x in enumerate(columns.tolist()):
            total = torch.zeros(3)
            for row in (int((y - 0.5) // 1), int((y - 0.5) // 1) + 1):
                for column in (int((x - 0.5) // 1), int((x - 0.5) // 1) + 1):
                    area = (1 - abs(y - row - 0.5)) * (1 - abs(x - column - 0.5))
                    inside = min(max(row, 0), 5), min(max(column, 0), 6)
                    told = torch.tensor([y - inside[0] - 0.5, x - inside[1] - 0.5, *cell])
                    hidden = first @ unfolded[0, :, inside[0], inside[1]] + network.unfolded.bias
                    total = total + area * network.head(hidden + network.place(told))
            torch.testing.assert_close(found[0, :, i, j], total, rtol=1e-4, atol=1e-4)


def _body(network, picture):
    x = network.enter(picture)
    for block in network.blocks:
        x = x + block(x)
    return x


def test_the_autoencoder_takes_any_size(networks):
    network, _ = networks
    picture = torch.rand(1, 3, 37, 50) * 2 - 1
    latent = network.encode(picture)
    assert latent.shape == (1, 8, 3, 4) and network.decode(latent, (37, 50)).shape == picture.shape
    with pytest.raises(ValueError, match="pixels_per_cell is 8"):
        network.encode(picture, 8)


def test_bytes_are_those_of_files(tmp_path):
    import codec

    from r2id import R2IR

    network = R2IR(3, 64, "pyramid", widths=(16, 48, 64, 80), encoder_blocks=(1,) * 4, decoder_blocks=(1,) * 4).eval()
    picture = codec.eight_bit(functional.interpolate(torch.rand(1, 3, 5, 6), (64, 80), mode="bicubic") * 2 - 1)
    file = tmp_path / "one.safetensors"
    with torch.inference_mode():
        for dtype, size in (("float16", 2), ("uint8", 1)):
            codec.stored(network, picture, 16, dtype, file)
            row = codec.measure(network, [picture], 16, dtype)
            assert row["bytes a pixel"] == file.stat().st_size / (64 * 80)
            assert 4 * 5 * 64 * size <= file.stat().st_size <= 4 * 5 * 64 * size + 2000
            assert row["deflated"] < row["bytes a pixel"]
            # A small picture of few details fits in both formats.
            assert row["JPEG"] > 20 and row["WebP"] > 20


def test_the_best_quality_within_some_bytes_is_found():
    import codec

    assert codec.best_within(55, lambda quality: bytes(quality + 5)) == bytes(55)
    assert codec.best_within(4, lambda quality: bytes(quality + 5)) is None
    assert codec.best_within(999, lambda quality: bytes(quality + 5)) == bytes(105)
