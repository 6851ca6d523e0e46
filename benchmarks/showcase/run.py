"""Write the pictures of the published experiments (design §1.6) with their figures, as one page.

`python benchmarks/showcase/run.py --data MNIST` writes docs/gallery and docs/gallery.md, in two minutes on two cores
that multiply in bfloat16 with `--precision bf16`. The part of the page that is written by hand stays.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from r2id.batch.gallery import Sheet, write_sheets
from r2id.cli.models import load_pipeline
from r2id.cli.parsing import parse_size
from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.denoising_error import measure_denoising_error, write_denoising_error
from r2id.evaluation.images import load_test_images
from r2id.evaluation.reconstruction import METHODS
from r2id.evaluation.report import Rows, figure_text, read_evaluation, title
from r2id.files.atomic import write_whole
from r2id.files.contact_sheets import contact_sheet, enlarged, overview
from r2id.files.images import as_output, save_image
from r2id.geometry.sizes import Size, size_text
from r2id.runtime.precision import autocast, usable_precision

LATENT_PICTURES: tuple[Size, ...] = ((4, 4), (14, 14))
"""Latent sizes shown channel by channel."""

RECONSTRUCTIONS: tuple[Size, ...] = ((4, 4), (8, 8), (14, 14))
"""Latent sizes of the reconstructions."""

VARIETY: tuple[Size, ...] = ((4, 4), (8, 8), (16, 16))
"""Latent sizes of the sheet with ten pictures of one label, which shows whether they repeat each other."""

DENOISING_ERROR: tuple[Size, ...] = ((4, 4), (8, 8), (16, 16))
"""Latent sizes of the denoising error, if no evaluation has measured it."""

DENOISING_ERROR_IMAGES = 64
"""Images for that measurement."""

OPTIONS = (
    "model", "precision", "num_inference_steps", "guidance_scale", "guidance_interval", "split", "image_size", "quick",
    "count", "limit", "denoising_error", "latent_size", "size", "seed",
)  # fmt: skip
"""Settings of an evaluation that are options of its command."""

REPEATED = ("latent_size", "size")
"""Options that are given once for each of their values."""

BELOW = "<!-- below, written by benchmarks/showcase/run.py -->"
"""Line of the page below which all is written anew; what is above stays."""

ABLATIONS = "ablations.md"
BLOCKS = "ablations.md#r2ir-global-blocks-in-each-direction-4000-steps-on-images-of-16x16"
"""The page of ablations, and its section with reconstructions by one block of R2IR and by four."""

RECONSTRUCTED = "reconstructions.png"
"""File name of the reconstructions."""

COMMAND_WIDTH = 90
"""Characters of a line after which a command continues on the next."""

DENOISING_ERROR_CAPTION = (
    "error of the noise predicted from noisy latents of {denoising_error} test images, with the label (solid) and "
    "without it (dotted). At t = 1, the latent is pure noise, and nothing is left to predict"
)

RECONSTRUCTION_NOTE = (
    "The figures are mean squared errors. evaluation.json also has PSNR and SSIM. The reference at a size is the image "
    "resized by a Lanczos filter. The baselines end in the same filter and so come nearer to it, while pixels of R2IR "
    "are means of their area. At the image's own size the first baseline is R2IR itself. Lanczos alone has next to no "
    "error where a latent holds at least as many values as the image."
)


@dataclass(frozen=True)
class Evaluation:
    """The figures of a folder: their settings, and their rows by section."""

    folder: Path
    settings: dict[str, Any]
    rows: Rows


def write_showcase(
    pipeline: R2Pipeline, data: ImageDataset, seed: int, folder: Path, options: Mapping[str, Any] | None = None
) -> Path:
    """Write all pictures to `folder` and a page beside it, `folder`.md. Returns the path of the page.

    The figures come from `r2id evaluate --output` into `folder` or its subfolders, with these weights. The denoising
    error is measured if they lack it. `folder`/remarks.json holds remarks by file name; they appear below the pictures
    if their seed and weights match. The page prints `options`, those of the command.

    Raises:
        InputError: one of these files is damaged.
    """
    about = {"seed": seed, "weights": pipeline.checksum()}
    evaluations = _evaluations(folder, about["weights"])
    written = _read(folder / "remarks.json")
    remarks = written["remarks"] if written.get("about") == about else {}
    labels = pipeline.conditioner.label_names[:10]
    sheets = write_sheets(pipeline, labels, seed, folder)
    sheets += _variety(pipeline, labels[len(labels) // 2], seed, folder)
    sheets += _reconstructions(pipeline, data, folder)
    sheets += _latent_pictures(pipeline, data, folder)
    sheets += _denoising_error(pipeline, data, seed, folder, evaluations)
    notes = {sheet.name: [remarks[sheet.name]] if sheet.name in remarks else [] for sheet in sheets}
    for sheet in sheets:
        notes[sheet.name] += _generated(sheet, evaluations)
    notes[RECONSTRUCTED] += _reconstructed((data.images.shape[-2], data.images.shape[-1]), evaluations)
    if folder.with_name(ABLATIONS).is_file():
        notes[RECONSTRUCTED].append(f"Reconstructions by R2IR of one block and of four: [ablations]({BLOCKS}).")
    commands = []
    for one in evaluations:
        commands.append(command(("r2id", "evaluate"), {name: one.settings.get(name) for name in OPTIONS}, one.folder))
    commands.append(command(("python", "benchmarks/showcase/run.py"), dict(options or {}) | {"seed": seed}, folder))
    text = _page(sheets, notes, list(_tables(folder, evaluations)), "\n".join(commands), folder.name)
    page = folder.with_name(folder.name + ".md")
    above, found, _ = page.read_text(encoding="utf-8").partition(BELOW) if page.is_file() else ("", "", "")
    above = above if found else "# Gallery\n\n"
    text = f"{above}{BELOW}\n\n{text}"
    write_whole(page, lambda path: path.write_text(text, encoding="utf-8"))
    return page


def command(program: Sequence[str], options: Mapping[str, Any], folder: Path) -> str:
    """A command line that writes to `folder`, wrapped; FOLDER stands for the data.

    Args:
        program: the words of the program.
        options: its options by name. None and False are left out.
        folder: its output.
    """
    words = [*program, "--data", "FOLDER"]
    for option, value in options.items():
        if value is None or value is False:
            continue
        for one in value if option in REPEATED else (value,):
            words.append("--" + option.replace("_", "-"))
            if option in REPEATED or option == "image_size":
                words.append(size_text((one[0], one[1])))
            elif one is not True:
                words += map(str, one) if isinstance(one, (list, tuple)) else [str(one)]
    lines, words = [""], [shlex.quote(word) for word in [*words, "--output", folder.as_posix()]]
    for word in words:
        # An option stays on one line with its value.
        if word.startswith("--") and len(lines[-1]) > COMMAND_WIDTH:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


def _evaluations(folder: Path, weights: int) -> list[Evaluation]:
    """Evaluations of these weights, the folder's own first."""
    paths = sorted(folder.rglob("evaluation.json"), key=lambda path: (len(path.parts), path))
    evaluations = [Evaluation(path.parent, *read_evaluation(path)) for path in paths]
    return [one for one in evaluations if one.settings["weights"] == weights]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); mend it, or remove it") from error


def _variety(pipeline: R2Pipeline, label: str, seed: int, folder: Path) -> list[Sheet]:
    rows = []
    for latent_size in VARIETY:
        generators = [torch.Generator().manual_seed(seed + index) for index in range(10)]
        rows.append(pipeline([label] * 10, latent_size, (32, 32), generator=generators).images)
    titles = [size_text(size) for size in VARIETY]
    save_image(overview(rows, titles), folder / "variety.png")
    caption = f"ten pictures of {label}; from top to bottom, latents of {', '.join(titles)}"
    return [Sheet("Variety", "variety.png", caption)]


@torch.inference_mode()
def _reconstructions(pipeline: R2Pipeline, data: ImageDataset, folder: Path) -> list[Sheet]:
    images = data.batch(slice(0, 10)).to(pipeline.device)
    size = (images.shape[-2], images.shape[-1])
    resampler = pipeline.resampler
    rows = [as_output(images, "pil")]
    rows += [as_output(resampler.decode(resampler.encode(images, one), size), "pil") for one in RECONSTRUCTIONS]
    titles = [size_text(size) for size in RECONSTRUCTIONS]
    save_image(overview(rows, ["test images", *titles]), folder / RECONSTRUCTED)
    caption = f"test images, and below them their reconstructions from latents of {', '.join(titles)}"
    return [Sheet("Reconstructions", RECONSTRUCTED, caption)]


@torch.inference_mode()
def _latent_pictures(pipeline: R2Pipeline, data: ImageDataset, folder: Path) -> list[Sheet]:
    sheets = []
    for latent_size in LATENT_PICTURES:
        latent = pipeline.resampler.encode(data.batch([0]).to(pipeline.device), latent_size)
        channels = as_output(latent.movedim(1, 0), "pil")
        name = f"latent-{size_text(latent_size)}.png"
        save_image(enlarged(contact_sheet(channels, columns=16)), folder / name)
        caption = f"the {len(channels)} channels of the first test image's latent of {size_text(latent_size)}"
        sheets.append(Sheet("Latents as pictures", name, caption))
    return sheets


def _denoising_error(
    pipeline: R2Pipeline, data: ImageDataset, seed: int, folder: Path, evaluations: Sequence[Evaluation]
) -> list[Sheet]:
    """The denoising error of the first evaluation that has it, or else of a few images; none without labels."""
    measured = next((one for one in evaluations if "denoising_error" in one.rows), None)
    if measured:
        number, rows = measured.settings["denoising_error"], measured.rows["denoising_error"]
    else:
        some = data.some(DENOISING_ERROR_IMAGES)
        try:
            rows = [row for size in DENOISING_ERROR for row in measure_denoising_error(pipeline, some, size, seed)]
        except InputError as error:
            print(f"denoising error cannot be measured: {error}", file=sys.stderr)
            return []
        number = len(some)
    write_denoising_error(rows, folder)
    return [
        Sheet(
            "Denoising error by timestep", "denoising-error.png", DENOISING_ERROR_CAPTION.format(denoising_error=number)
        )
    ]


def _page(
    sheets: Sequence[Sheet], notes: Mapping[str, Sequence[str]], figures: Sequence[str], commands: str, folder: str
) -> str:
    """The text of the page: each sheet with its `notes`, paragraphs by file name, then the lines of the figures."""
    lines = [
        "## Digits",
        "",
        "Only the seed is chosen by hand. Pixels of small pictures are enlarged to squares. Proportions other",
        "than those of training stretch the picture. Fréchet distances are mostly larger for fewer pictures.",
        "These commands write the page:",
        "",
        f"```sh\n{commands}\n```",
    ]
    for heading, group in itertools.groupby(sheets, lambda sheet: sheet.heading):
        lines += ["", f"## {heading}"]
        for sheet in group:
            lines += ["", f"![{sheet.caption}]({folder}/{sheet.name})", "", f"*{sheet.caption}*"]
            lines += [line for note in notes.get(sheet.name, ()) for line in ("", note)]
    return "\n".join([*lines, *figures]) + "\n"


def _generated(sheet: Sheet, evaluations: Sequence[Evaluation]) -> list[str]:
    """Figures of generated pictures of the sizes that a sheet shows."""
    if sheet.sizes is None:
        return []
    shown = {"latents": size_text(sheet.sizes[0]), "pictures": size_text(sheet.sizes[1])}
    return [
        f"{title('generation', one.settings)}: {_in_words(row, without=shown)}."
        for one in evaluations
        for row in one.rows.get("generation", ())
        if row.items() >= shown.items()
    ]


def _reconstructed(size: Size, evaluations: Sequence[Evaluation]) -> list[str]:
    """Figures of reconstructions at `size` from the latents of the sheet."""
    lines = []
    for one in evaluations:
        heading = title("reconstruction", one.settings)
        for latent_size in map(size_text, RECONSTRUCTIONS):
            shown = {"latents": latent_size, "pictures": size_text(size), "method": METHODS[0]}
            measured = [row for row in one.rows.get("reconstruction", ()) if row.items() >= shown.items()]
            lines += [f"- {latent_size} latents, {heading}: {_in_words(row, without=shown)}" for row in measured]
    return ["\n".join(lines)] if lines else []


def _tables(folder: Path, evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Lines of all figures except the denoising error, which is a picture."""
    for one in evaluations:
        inside = "" if one.folder == folder else f" ({one.folder.relative_to(folder).as_posix()})"
        for section, rows in one.rows.items():
            if section != "denoising_error":
                yield from ("", f"## Figures: {title(section, one.settings)}{inside}", "")
                by_sizes = section == "reconstruction"
                yield from _by_sizes(rows) if by_sizes else _table(list(rows[0]), map(dict.values, rows))


def _by_sizes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of errors for each method, with a row for each latent size and a column for each picture size."""
    latents = list(dict.fromkeys(row["latents"] for row in rows))
    pictures = list(dict.fromkeys(row["pictures"] for row in rows))
    lines = [RECONSTRUCTION_NOTE]
    for method in METHODS:
        errors = {(row["latents"], row["pictures"]): row["MSE"] for row in rows if row["method"] == method}
        table = [[one, *(errors.get((one, size)) for size in pictures)] for one in latents]
        lines += ["", f"### {method}", "", *_table(["latents", *pictures], table)]
    return lines


def _table(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(figure_text(value) for value in row) + " |" for row in rows]


def _in_words(row: Mapping[str, Any], without: Container[str]) -> str:
    return ", ".join(f"{name} {figure_text(value)}" for name, value in row.items() if name not in without)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="ylecun/mnist", help="folder or hub id of the images that are encoded")
    parser.add_argument("--split", default="test", help="split of the data")
    parser.add_argument("--image-size", type=parse_size, help="HxW of the images, by default that of training")
    parser.add_argument("--model", default="mnist", help="bundled weights, a folder, or a hub id")
    parser.add_argument("--device", help="such as cpu or cuda; by default the GPU if there is one")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the networks")
    parser.add_argument("--seed", type=int, default=1, help="of the pictures")
    parser.add_argument("--output", type=Path, default=Path("docs/gallery"), help="folder; the page is OUTPUT.md")
    arguments = parser.parse_args()
    try:
        pipeline = load_pipeline(arguments.model, arguments.device, arguments.precision)
        data = load_test_images(pipeline, arguments.data, arguments.split, arguments.image_size)
        precision = usable_precision(arguments.precision, pipeline.device)
        options = {
            "model": arguments.model,
            "split": arguments.split,
            "image_size": arguments.image_size,
            "precision": precision,
        }
        with autocast(precision, pipeline.device):
            print(f"open {write_showcase(pipeline, data, arguments.seed, arguments.output, options)}")
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
