"""The program `r2id`: its commands and its error messages."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro

import r2id
from r2id.cli.encode import Decode, Encode, decode, encode
from r2id.cli.evaluate import Evaluate, evaluate
from r2id.cli.help import explain, network_options
from r2id.cli.info import Info, info
from r2id.cli.inpaint import Inpaint, Outpaint, inpaint, outpaint
from r2id.cli.parsing import RULES, OptionError
from r2id.cli.publish import Card, Export, card, export
from r2id.cli.render import Render, render
from r2id.cli.resample import Resample, resample
from r2id.cli.sample import Sample, sample
from r2id.cli.show import App, Demo, demo, serve
from r2id.cli.train import train_diffuser, train_resampler
from r2id.errors import InputError
from r2id.runtime.freed_memory import keep_freed_memory
from r2id.training.presets import DIFFUSER_PRESETS, PRESET_NOTES, RESAMPLER_PRESETS

COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "sample": (Sample, sample),
    "inpaint": (Inpaint, inpaint),
    "outpaint": (Outpaint, outpaint),
    "resample": (Resample, resample),
    "encode": (Encode, encode),
    "decode": (Decode, decode),
    "render": (Render, render),
    "info": (Info, info),
    "evaluate": (Evaluate, evaluate),
    "demo": (Demo, demo),
    "export": (Export, export),
    "card": (Card, card),
    "app": (App, serve),
}
TRAININGS: dict[str, tuple[Mapping[str, Any], Callable[[Any], None], tuple[str, str]]] = {
    "resampler": (RESAMPLER_PRESETS, train_resampler, ("resampler.py", "R2IR")),
    "diffuser": (DIFFUSER_PRESETS, train_diffuser, ("diffuser.py", "R2ID")),
}
"""Presets, command, and file and class of the arguments, for each network."""

app = tyro.extras.SubcommandApp()
train_app = tyro.extras.SubcommandApp()
app.command(train_app, name="train", help="Train one of the two networks, from a preset.")
for _name, _training in TRAININGS.items():
    train_app.command(name=_name)(_training[1])
for _name, _command in COMMANDS.items():
    app.command(name=_name)(_command[1])

DESCRIPTION = "Generate and resample images at any resolution. `r2id --version` says which version this is."

EXTRAS = {
    "accelerate": "train",
    "datasets": "train",
    "tensorboard": "train",
    "torchmetrics": "eval",
    "matplotlib": "eval",
    "gradio": "app",
    "transformers": "text",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
}
"""Packages that only some commands need, and the extra that installs them."""


def read(arguments: Sequence[str]) -> tuple[Callable[[Any], None], Any]:
    """Return the command of a command line and its settings.

    Each command has its own parser, so that errors name its own options.
    """
    match arguments:
        case ["train", network, preset, *options] if network in TRAININGS and preset in TRAININGS[network][0]:
            presets, command, source = TRAININGS[network]
            explain(type(presets[preset]), {"model": f"\n\n{network_options(*source)}"})
            how = {"default": presets[preset], "description": PRESET_NOTES[preset]}
            return command, _settings(type(presets[preset]), f"train {network} {preset}", options, **how)
        case [name, *options] if name in COMMANDS:
            settings, command = COMMANDS[name]
            explain(settings)
            return command, _settings(settings, name, options, config=(tyro.conf.DisallowNone,))
    # Without a full command, tyro prints help, or an error that lists the commands.
    sys.exit(app.cli(prog="r2id", description=DESCRIPTION, args=arguments, registry=RULES))


def _settings(settings: type, command: str, options: Sequence[str], **how: Any) -> Any:
    return tyro.cli(settings, prog=f"r2id {command}", args=options, registry=RULES, **how)


def main() -> None:
    """Run the command line. Errors that the user can correct end it with one sentence and exit status 2."""
    if sys.argv[1:] == ["--version"]:
        print(f"r2id {r2id.__version__}")
        return
    keep_freed_memory()
    # Of a damaged file, one sentence is told here.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        command, settings = read(sys.argv[1:])
        command(settings)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as head, has enough. Python would flush to it once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InputError, OptionError) as error:
        print(f"r2id: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        print(f"r2id: {str(interrupt) or 'stopped'}", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        wanted = f"'r2id[{EXTRAS[package]}]'" if package in EXTRAS else "r2id"
        print(f"r2id: {package} is not installed, or not whole; pip install {wanted}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        print("r2id: the memory is full; ask for fewer or smaller pictures", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(
            f"r2id: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}",
            file=sys.stderr,
        )
        sys.exit(2)
