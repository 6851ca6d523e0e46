"""The program `r2id`: its commands, and what it says of errors."""

from __future__ import annotations

import sys

import tyro

import r2id
from r2id.cli.evaluate import evaluate
from r2id.cli.info import info
from r2id.cli.parsing import SIZES, OptionError
from r2id.cli.publish import card, export
from r2id.cli.resample import decode, encode, resample
from r2id.cli.sample import sample
from r2id.cli.show import demo, serve
from r2id.cli.train import train_diffuser, train_resampler
from r2id.errors import InputError

app = tyro.extras.SubcommandApp()
train_app = tyro.extras.SubcommandApp()
app.command(train_app, name="train", help="Train one of the two networks, from a preset.")
train_app.command(name="resampler")(train_resampler)
train_app.command(name="diffuser")(train_diffuser)
for command, name in (
    (sample, "sample"),
    (resample, "resample"),
    (encode, "encode"),
    (decode, "decode"),
    (info, "info"),
    (evaluate, "evaluate"),
    (demo, "demo"),
    (export, "export"),
    (card, "card"),
    (serve, "app"),
):
    app.command(name=name)(command)  # type: ignore[type-var]

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
"""Packages that only some commands need, and the extra that brings them."""


def main() -> None:
    """Run the command line; errors a user can mend end it with one sentence and exit status 2."""
    if sys.argv[1:] == ["--version"]:
        print(f"r2id {r2id.__version__}")
        return
    try:
        app.cli(prog="r2id", description=DESCRIPTION, registry=SIZES)
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
