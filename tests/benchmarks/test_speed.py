"""The benchmark suite: what it calls the same work gives the same result, and its arithmetic."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "speed"))

import cases  # noqa: E402
import measuring  # noqa: E402
import roofline  # noqa: E402
import run  # noqa: E402
import tables  # noqa: E402


def test_a_ratio_is_of_medians_with_the_quartiles_of_the_rounds():
    ratio = measuring.ratio([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0] * 7)
    assert (ratio.value, ratio.low, ratio.high) == (4.0, 2.0, 6.0)
    assert str(ratio) == "4 (2–6)"


def test_of_few_rounds_a_ratio_has_the_range_and_their_number():
    assert str(measuring.ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0])) == "4 (2–4, of 3)"
    assert str(measuring.ratio([2.0], [1.0])) == "2 (2–2, of 1)"


def test_growth_is_the_exponent_of_the_number_of_samples():
    assert measuring.growth({32: 5.0, 64: 20.0, 128: 80.0}) == pytest.approx(1)
    assert measuring.growth({32: 1.0, 64: 16.0}) == pytest.approx(2)


def test_what_is_too_large_is_extrapolated_from_the_two_largest():
    measured = {side: 3.0 * side**2 + 0.5 * side**4 for side in (16, 32)} | {8: 1e9}
    assert measuring.extrapolate(measured, 64, (1, 2)) == pytest.approx(3 * 64**2 + 0.5 * 64**4)
    assert measuring.extrapolate({8: 100.0 + 64, 16: 100.0 + 256}, 32, (0, 1)) == pytest.approx(1124)


def test_bf16_is_compared_with_float32():
    half, single = torch.tensor([1.0, 2.0, 4.0]).numpy(), torch.tensor([1.0, 2.5, 3.0]).numpy()
    assert tables.difference(half, single) == pytest.approx({"largest": 1.0, "mean": 0.5, "spread": single.std()})


def test_a_gpu_can_still_be_used_after_a_fork():
    """A process that has asked for what a GPU is could not fork for every case any more."""
    folder = Path(cases.__file__).parent
    code = "import torch; torch.cuda.is_available = lambda: True; import memory; assert memory.cases.DEVICE"
    code += " == 'cuda' and not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def test_alternatives_take_turns_and_the_first_round_does_not_count():
    order = []
    seconds = measuring.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3 and [len(one) for one in seconds.values()] == [2, 2]


def test_peak_memory_is_that_of_the_work():
    # What earlier tests in this process have freed would be taken again, and not count.
    ctypes.CDLL(None).malloc_trim(0)
    held = measuring.resident_peak(lambda: torch.ones(64, 2**20 // 4).sum())
    assert held == pytest.approx(64 * 2**20, rel=0.2)


def test_peak_memory_is_measured_in_a_process_each_and_survives_a_failure():
    first = measuring.peak_memory("decode", "Lanczos resize", 2048)
    assert first == pytest.approx(4 * 2**20, rel=0.3)
    with pytest.raises(RuntimeError, match="no such case"):
        measuring.peak_memory("no such case")
    assert measuring.peak_memory("decode", "Lanczos resize", 2048) == pytest.approx(first, rel=0.3)
    assert measuring.peak_memory("decode_to_file", 300) > 0


def test_operations_and_bytes_are_counted():
    left, right = torch.ones(4, 8), torch.ones(8, 2)
    counted = roofline.count(lambda: (left @ right).T)
    assert counted == {"operations": 2 * 4 * 8 * 2, "bytes": 4 * (4 * 8 + 8 * 2 + 4 * 2)}


def test_the_plain_way_gives_the_same_results():
    fast, plain = (cases.guided_step(name, 9)() for name in ("R2ID, float32", "R2ID, baseline"))
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-3)
    fast, plain = (cases.encode(name, 70)() for name in ("R2IR, float32", "R2IR, baseline"))
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)
    fast, plain = (torch.from_numpy(cases.decode(name, 300)()).int() for name in ("R2IR, float32", "R2IR, baseline"))
    assert fast.shape == (300, 300, 1) and (fast - plain).abs().max() <= 1


@pytest.mark.parametrize("network", ["DiT", "Sana", "UNet"])
def test_peers_do_the_same_work_with_about_as_many_parameters(network):
    assert cases.guided_step(network, 8)().shape == (1, 64, 8, 8)
    own = cases.parameters(cases.ours().diffuser)
    peer = {"DiT": cases.dit, "Sana": cases.sana, "UNet": cases.unet}[network](8)
    assert 0.75 * own < cases.parameters(peer) < 1.35 * own


def page_of(tmp_path, *arguments) -> str:
    run.main(["--results", str(tmp_path / "results"), "--document", str(tmp_path / "page.md"), *arguments])
    return (tmp_path / "page.md").read_text()


def row_of(page: str, name: str, number: int = 0) -> list[str]:
    """Cells of the row of a name, in the table of this number that has it."""
    return [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(f"| {name} |")][number]


def test_a_page_is_written_of_what_was_measured_with_the_command_that_did(tmp_path):
    page = page_of(tmp_path, "--only", "step", "gpu", "--rounds", "2", "--step-sides", "4", "8")
    assert "| R2ID, baseline |" in page and "| Sana |" in page and "## Training" not in page
    assert "--only step gpu --rounds 2 --step-sides 4 8`, commit " in page and "GiB" in page
    assert ", of 2)" in row_of(page, "DiT")[1] and "## Compiled" not in page


def test_a_page_says_what_is_extrapolated(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST", {"R2IR, baseline": 24})
    small = ("--decode-sides", "16", "24", "32", "--file-sides", "32", "64", "--encode-side", "40")
    page = page_of(tmp_path, "--only", "decode", "--rounds", "1", *small)
    assert row_of(page, "R2IR, baseline")[3].startswith("≈") and "1.13 million" in page and "1.06 million" in page
    assert row_of(page, "R2IR, baseline", 1)[3].startswith("≈")
    assert len(row_of(page, "peak memory, MiB")) == 3


def test_splats_have_a_section_beside_r2ir(tmp_path):
    page = page_of(tmp_path, "--only", "splats", "--rounds", "1", "--splat-sides", "16", "40")
    assert row_of(page, "R2IR")[1].startswith("1 (") and len(row_of(page, "1024 splats")) == 3


def test_only_what_is_too_large_is_extrapolated():
    sides = {
        32: {"seconds": {"R2ID": [1.0], "DiT": [2.0]}, "memory": {"DiT": 2**20}},
        64: {"seconds": {"R2ID": [4.0], "DiT": [32.0]}, "memory": {"DiT": 2**22}},
        128: {"seconds": {"R2ID": [16.0]}, "memory": {}},
    }
    assert tables.relative_or_more(sides, "DiT", "R2ID", (1, 2))[2] == "≈ 32"
    assert tables.mebibytes_or_more(sides, "DiT") == ["1", "4", "≈ 16"]
    assert tables.relative_or_more(sides, "Sana", "R2ID", (1, 2)) == ["", "", ""]


def test_a_gpu_has_a_section_of_its_own(tmp_path, monkeypatch):
    """Where there is one. Here the work is nothing; how it is counted and shown is what this runs."""
    monkeypatch.setattr(cases, "DEVICE", "cuda")
    for name in ("guided_step", "compiled_step", "training_step"):
        monkeypatch.setattr(cases, name, lambda *_: lambda: None)
    page = page_of(tmp_path, "--only", "gpu", "--rounds", "2")
    assert "# On a GPU" in page and "256×256 latents" in page
    assert "not measured: step, decode, splats, training, samplers, start, rgb and roofline." in page
    assert len(row_of(page, "reduce-overhead")) == 3 and "R2IR 7000 steps" in page and "R2ID 21000 steps" in page


def test_a_cpu_has_a_section_of_what_its_users_compile(tmp_path, monkeypatch):
    """How it is counted and shown; to compile takes minutes."""
    monkeypatch.setattr(cases, "batch_step", lambda *_: lambda: None)
    page = page_of(tmp_path, "--only", "compiled", "--rounds", "2")
    assert "## Compiled steps" in page and [row_of(page, str(count))[0] for count in (1, 10, 100)]
