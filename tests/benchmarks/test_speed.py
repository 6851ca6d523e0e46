"""The benchmark suite: what it calls the same work gives the same result, and its arithmetic."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "speed"))

import cases  # noqa: E402
import measuring  # noqa: E402
import roofline  # noqa: E402
import run  # noqa: E402


def test_a_ratio_is_of_medians_with_the_quartiles_of_the_rounds():
    ratio = measuring.ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0])
    assert (ratio.value, ratio.low, ratio.high) == (4.0, 2.0, 4.0)


def test_growth_is_the_exponent_of_the_number_of_samples():
    assert run.growth([(32, 5.0), (64, 20.0), (128, 80.0)]) == pytest.approx(1)
    assert run.growth([(32, 1.0), (64, 16.0)]) == pytest.approx(2)


def test_alternatives_take_turns_and_the_first_round_does_not_count():
    order = []
    seconds = measuring.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3 and [len(one) for one in seconds.values()] == [2, 2]


def test_peak_memory_is_that_of_the_work():
    assert measuring.resident_peak(lambda: torch.ones(64, 2**20 // 4).sum()) == pytest.approx(64 * 2**20, rel=0.2)


def test_operations_and_bytes_are_counted():
    left, right = torch.ones(4, 8), torch.ones(8, 2)
    counted = roofline.count(lambda: (left @ right).T)
    assert counted == {"operations": 2 * 4 * 8 * 2, "bytes": 4 * (4 * 8 + 8 * 2 + 4 * 2)}


def test_the_plain_way_gives_the_same_results():
    fast, plain = (cases.guided_step(name, 9)() for name in ("R2ID, float32", "R2ID, the plain way"))
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-3)
    fast, plain = (cases.encode(name, 70)() for name in ("R2IR, float32", "R2IR, the plain way"))
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)
    fast, plain = (
        torch.from_numpy(cases.decode(name, 300)()).int() for name in ("R2IR, float32", "R2IR, the plain way")
    )
    assert fast.shape == (300, 300, 1) and (fast - plain).abs().max() <= 1


@pytest.mark.parametrize("network", ["DiT", "Sana", "UNet"])
def test_peers_do_the_same_work_with_about_as_many_parameters(network):
    assert cases.guided_step(network, 8)().shape == (1, 64, 8, 8)
    own = cases.parameters(cases.ours().diffuser)
    peer = {"DiT": cases.dit, "Sana": cases.sana, "UNet": cases.unet}[network](8)
    assert 0.75 * own < cases.parameters(peer) < 1.35 * own


def test_a_page_is_written_of_what_was_measured(tmp_path):
    command = ["--data", "MNIST", "--results", str(tmp_path / "results"), "--document", str(tmp_path / "page.md")]
    run.main([*command, "--only", "step", "--rounds", "2", "--step-sides", "4", "8"])
    page = (tmp_path / "page.md").read_text()
    assert "| R2ID, the plain way |" in page and "| Sana |" in page and "## Training" not in page
