"""Training by two processes (gloo): the same as by one, and as resumable."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
import torch
from safetensors.torch import load_file

from r2id import cli
from r2id.files.latents import Latents

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"
COMMON = (
    *("--data", DIGITS, "--image-size", "8x8", "--latent-sizes", "2x2", "3x3", "--steps", "6", "--batch-size", "8"),
    *("--warmup-steps", "2", "--sample-every", "5", "--precision", "fp32", "--no-compile", "--model", "dim=16"),
    *("num_heads=2", "num_high=3", "num_low=2"),
)
NETWORKS = {
    "resampler": ("resampler", "mnist", "--latent-noise", "0.2", *COMMON, "num_blocks=1", "basis=4", "pixel_dim=8"),
    "diffuser": (
        *("diffuser", "mnist", "--resampler", "none", "--label-dropout", "0.5", *COMMON),
        *("encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8"),
    ),
}


SPREAD = """
import torch
from torch.distributed.tensor import DTensor

from r2id.conditioning.labels import LabelConditioner
from r2id.networks.diffuser import R2ID
from r2id.networks.layers import EncoderBlock, SelfBlock
from r2id.diffusion.pipeline import R2Pipeline
from r2id.networks.resampler import R2IR
from r2id.training.objectives import DiffusionObjective, ReconstructionObjective
from r2id.training.sharding import gather_weights, shard

torch.distributed.init_process_group("gloo")
resampler = R2IR(dim=32, num_heads=2, num_blocks=2, basis=4, pixel_dim=8, latent_channels=8)
diffuser = R2ID(channels=8, dim=32, num_heads=2, encoder_blocks=2, decoder_blocks=2, token_dim=16, time_dim=16)
for objective in (
    ReconstructionObjective(resampler, 0.1, 0.5),
    DiffusionObjective(R2Pipeline(diffuser, LabelConditioner(dim=16), R2IR(**resampler.config)), 0.1),
):
    total = sum(parameter.numel() for parameter in objective.parameters())
    shard(objective, "cpu", 2)
    blocks = [module for module in objective.modules() if isinstance(module, (EncoderBlock, SelfBlock))]
    together = []

    def count(*_):
        together.append(sum(not isinstance(next(block.parameters()), DTensor) for block in blocks))

    for block in blocks:
        block.register_forward_pre_hook(count)
    objective.train()(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.long), (2, 2)).backward()
    held = sum(parameter.to_local().numel() for parameter in objective.parameters())
    assert 0.48 * total < held < 0.52 * total, (held, total)
    assert len(together) >= 4 and set(together) == {1}, together
    gather_weights(objective)
    if torch.distributed.get_rank() == 0:
        objective(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.long), (2, 2)).backward()
torch.distributed.barrier()
torch.distributed.destroy_process_group()
print("spread evenly", flush=True)
"""

COMPILED = """
import torch
from torch import nn

from r2id.conditioning.labels import LabelConditioner
from r2id.networks.diffuser import R2ID
from r2id.diffusion.pipeline import R2Pipeline
from r2id.training.objectives import DiffusionObjective
from r2id.networks.compiling import compile_network
from r2id.training.sharding import shard

torch.distributed.init_process_group("gloo")
compiled, compile_module = [], nn.Module.compile


def backend(graph, _):
    compiled.append(graph)
    return graph.forward


nn.Module.compile = lambda module: compile_module(module, backend=backend)
sums = []
for compiles in (False, True):
    torch.manual_seed(0)
    diffuser = R2ID(channels=1, dim=32, num_heads=2, encoder_blocks=2, decoder_blocks=2, token_dim=16, time_dim=16)
    nn.init.normal_(diffuser.out.weight)
    objective = DiffusionObjective(R2Pipeline(diffuser, LabelConditioner(dim=16), None), 0.1)
    shard(objective, "cpu", 2)
    if compiles:
        compile_network(diffuser)
    objective.train()(torch.linspace(-1, 1, 128).view(2, 1, 8, 8), torch.zeros(2, dtype=torch.long), (2, 3)).backward()
    gradients = [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]
    assert len(gradients) > 50 and bool(compiled) == compiles
    sums.append([gradient.full_tensor().abs().sum().item() for gradient in gradients])
assert sums[0] == sums[1]
torch.distributed.barrier()
torch.distributed.destroy_process_group()
print("the same gradients", flush=True)
"""


def by_two_processes(*arguments) -> subprocess.Popen:
    return launch_two("-m", "r2id", "train", *map(str, arguments))


def launch_two(*command: str) -> subprocess.Popen:
    launch = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = (sys.executable, "-m", *launch, *command)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill(launcher: subprocess.Popen) -> None:
    """Kill the launcher and the processes it started, each of which leads a session of its own."""
    workers = psutil.Process(launcher.pid).children(recursive=True)
    for process in (launcher, *workers):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    launcher.communicate(timeout=60)


def printed_by(process: subprocess.Popen) -> str:
    """All that a process prints until it ends; one that does not is killed."""
    try:
        return process.communicate(timeout=120)[0]
    except subprocess.TimeoutExpired:
        kill(process)
        raise


def train_alone(arguments, output):
    with patch.object(sys, "argv", ["r2id", "train", *map(str, arguments), "--output", str(output)]):
        cli.main()


def check_two_learn_as_one(arguments, more, said, folder):
    """One process and two, which get `more` arguments, learn the same weights, and what was found is `said` once."""
    alone, together = folder / "alone", folder / "together"
    train_alone(arguments, alone)
    process = by_two_processes(*arguments, *more, "--output", together)
    printed = printed_by(process)
    assert process.returncode == 0 and printed.count(said) == 1, printed
    check_alike(alone, together)


def check_alike(alone, together):
    one, two = weights(alone), weights(together)
    assert one.keys() == two.keys() and one
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    paths = sorted(folder.rglob("diffusion_pytorch_model.safetensors"))
    return {f"{path.parent.name} {name}": value for path in paths for name, value in load_file(path).items()}


@pytest.mark.parametrize(
    ("network", "first", "then"),
    [("resampler", (), ()), ("diffuser", (), ("--shard",)), ("resampler", ("--shard",), ("--shard",))],
)
def test_two_processes_learn_what_one_learns_even_if_killed(network, first, then, tmp_path):
    """Before they are killed or after, weights may be spread over the processes."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    train_alone(NETWORKS[network], alone)
    arguments = (*NETWORKS[network], "--checkpoint-every", "1", "--output", together)
    process = by_two_processes(*arguments, *first)
    deadline = time.monotonic() + 120
    while not list(together.glob("checkpoints/step-*[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.002)
    kill(process)
    resumed = by_two_processes(*arguments, "--resume", *then)
    printed = printed_by(resumed)
    assert resumed.returncode == 0 and printed.count("the trained") == 1, printed
    config = next(together.rglob(f"{network}/config.json"))
    assert json.loads(config.read_text())["training"]["machine"].startswith("2 ×")
    check_alike(alone, together)


def test_two_processes_learn_stored_latents_as_one_does(make_resampler, tmp_path):
    resampler = make_resampler(sample_size=8)
    resampler.save_pretrained(tmp_path / "resampler")
    for part in range(2):
        values = torch.rand(12, 3, 2, 2 + part) * 2 - 1
        latents = Latents(values, (8, 8), ("a", "b", "c") * 4, resampler.checksum(), (8, 8))
        latents.save(tmp_path / "latents" / f"{part}.safetensors")
    arguments = (*NETWORKS["diffuser"], "--data", tmp_path / "latents", "--resampler", tmp_path / "resampler")
    check_two_learn_as_one(arguments, ("--shard",), "24 latents of 2x2, 2x3; 3 labels", tmp_path)


@pytest.mark.parametrize("sharded", [(), ("--shard",)])
def test_two_processes_learn_pictures_as_one_does(sharded, tmp_path):
    (tmp_path / "icons.json").write_text(json.dumps({"icons": {"dot": {"body": '<circle cx="8" cy="8" r="5"/>'}}}))
    arguments = (
        *("resampler", "pictures", "--data", DIGITS, "--drawings", tmp_path, "--tile-size", "28"),
        *("--drawing-size", "40", "--drawing-share", "0.3", "--latent-sizes", "1x1", "--steps", "6"),
        *("--batch-size", "8", "--warmup-steps", "2", "--sample-every", "0", "--precision", "fp32"),
        *("--num-workers", "0", "--model", "latent_channels=8", "widths=(12,12,16,16)", "encoder_blocks=(1,0,0,1)"),
        *("decoder_blocks=(1,0,0,1)", "read_channels=4", "read_dim=8"),
    )
    check_two_learn_as_one(arguments, sharded, "tiles of 28x28; 1 drawing of", tmp_path)


def test_each_process_holds_half_and_whole_weights_of_one_block_only(tmp_path):
    (tmp_path / "spread.py").write_text(SPREAD)
    process = launch_two(str(tmp_path / "spread.py"))
    printed = printed_by(process)
    assert process.returncode == 0 and printed.count("spread evenly") == 2, printed


def test_spread_weights_are_compiled_to_the_same_gradients(tmp_path):
    (tmp_path / "compiled.py").write_text(COMPILED)
    process = launch_two(str(tmp_path / "compiled.py"))
    printed = printed_by(process)
    assert process.returncode == 0 and printed.count("the same gradients") == 2, printed


def test_one_process_has_nothing_to_spread_weights_over(tmp_path, capsys):
    arguments = ["r2id", "train", *map(str, NETWORKS["diffuser"]), "--shard", "--output", str(tmp_path)]
    with patch.object(sys, "argv", arguments), pytest.raises(SystemExit):
        cli.main()
    assert "shard is on and there is one process" in capsys.readouterr().err
