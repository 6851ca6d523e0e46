"""The section on decoding and encoding."""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import cases
from measuring import peak_memory, ratio, take_turns
from tables import (
    difference,
    mebibytes,
    mebibytes_or_more,
    relative,
    relative_or_more,
    seconds_of,
)

from r2id.files.markdown import markdown_table

SPLATS = (128, 1024)


def measure_decode(options: argparse.Namespace) -> dict[str, Any]:
    """Time and memory of decoding, of rendering a region of a huge picture, and of encoding a large image."""
    resampler, peer = cases.ours().resampler, cases.autoencoder()
    result: dict[str, Any] = {
        "parameters": {
            "decoder": {
                "R2IR": cases.parameters(resampler.decoder),
                "AutoencoderKL": cases.parameters(peer.decoder, peer.post_quant_conv),
            },
            "encoder": {
                "R2IR": cases.parameters(resampler.encoder),
                "AutoencoderKL": cases.parameters(peer.encoder, peer.quant_conv),
            },
        },
        "errors": {},
        "sides": {},
    }
    for side in options.decode_sides:
        rounds = options.rounds if side < 4096 else min(2, options.rounds)
        seconds = seconds_of(cases.decode, list(cases.DECODERS), side, rounds)
        memory = {name: peak_memory("decode", name, side) for name in seconds}
        result["sides"][side] = {"seconds": seconds, "memory": memory}
        half, single = (cases.decode(name, side)() for name in ("R2IR", "R2IR, float32"))
        result["errors"][side] = difference(half, single.astype(float))
    result["files"] = {side: peak_memory("decode_to_file", side) for side in options.file_sides}
    result["render"] = take_turns({kind: cases.render(kind) for kind in ("region", "whole")}, options.rounds)
    methods = ["R2IR", "R2IR, float32", "R2IR, baseline", "AutoencoderKL"]
    side = options.encode_side
    encoders = take_turns({name: cases.encode(name, side) for name in methods}, min(3, options.rounds))
    held = {name: peak_memory("encode", name, side) for name in methods}
    result["encode"] = {"side": side, "seconds": encoders, "memory": held}
    return result


def measure_splats(options: argparse.Namespace) -> dict[str, Any]:
    """Time of rendering splats, beside R2IR's decoding."""
    alternatives = {
        f"{count} splats": {side: cases.render_splats(count, side) for side in options.splat_sides} for count in SPLATS
    }
    alternatives["R2IR"] = {side: cases.decode("R2IR", side) for side in options.splat_sides}
    return {
        "sides": {
            side: {"seconds": take_turns({name: works[side] for name, works in alternatives.items()}, options.rounds)}
            for side in options.splat_sides
        }
    }


def show_splats(result: dict[str, Any]) -> list[str]:
    sides = {int(side): one["seconds"] for side, one in result["sides"].items()}
    names = ["R2IR", *(f"{count} splats" for count in SPLATS)]
    return [
        "## Rendering splats",
        "",
        "Splats are rendered in float32, and R2IR decodes an 8×8 latent in bfloat16, to 8-bit pixels. "
        "Time relative to R2IR:",
        "",
        *markdown_table(
            ["", *(f"{side}×{side}" for side in sides)],
            [[name, *(relative(seconds, name, "R2IR") for seconds in sides.values())] for name in names],
        ),
    ]


def show_decode(result: dict[str, Any]) -> list[str]:
    render, encode, errors = result["render"], result["encode"], result["errors"]
    sides = {int(side): one for side, one in result["sides"].items()}
    heads = [f"{side}×{side}" for side in sides]
    rows = [[name, *relative_or_more(sides, name, "R2IR", (0, 1))] for name in cases.DECODERS]
    memory = [[name, *mebibytes_or_more(sides, name)] for name in cases.DECODERS]
    rows_encode = [
        [name, relative(encode["seconds"], name, "R2IR"), mebibytes(encode["memory"][name])]
        for name in encode["seconds"]
    ]
    counts = {
        part: ", ".join(f"{name} {count / 1e6:.2f} million" for name, count in networks.items())
        for part, networks in result["parameters"].items()
    }
    region, tiles = median(render["region"]), (16384 // 256) ** 2
    return [
        "## Decoding and encoding",
        "",
        "R2IR decodes an 8×8 latent, AutoencoderKL its own of an eighth of the picture, and Lanczos enlarges 32×32 "
        "pixels. The result is 8-bit pixels. Decoding uses bfloat16, unless a row says float32; the baseline uses "
        f"float32. Parameters of the decoder: {counts['decoder']}. Parameters of the encoder: {counts['encoder']}.",
        "",
        "AutoencoderKL runs without the attention of its middle block, which is quadratic in the pixels. With it, "
        "AutoencoderKL would take longer. Time relative to R2IR:",
        "",
        *markdown_table(["", *heads], rows),
        "",
        "Peak memory beyond weights and latent, the picture included, in MiB. "
        "The libraries take some 15 to 25 MiB of it in the first call, at any size:",
        "",
        *markdown_table(["", *heads], memory),
        "",
        "≈: not measured, because it would not fit in memory. The figure is extrapolated from the two largest measured "
        "sizes, as a + b·n of n pixels.",
        "",
        "Differences by bfloat16 in the picture, in levels of 256:",
        "",
        *markdown_table(
            ["", *heads],
            [
                ["largest difference", *(f"{one['largest']:.0f}" for one in errors.values())],
                ["mean difference", *(f"{one['mean']:.2g}" for one in errors.values())],
            ],
        ),
        "",
        "Decoding to a file in tiles of 256×256, in bfloat16, as `r2id sample` does for pictures above 4096×4096:",
        "",
        *markdown_table(
            ["", *(f"{side}×{side}" for side in result["files"])],
            [["peak memory, MiB", *(mebibytes(held) for held in result["files"].values())]],
        ),
        "",
        "A region of 256×256 from the middle of a 16384×16384 picture takes "
        f"{ratio(render['region'], render['whole'])} times as long as a 256×256 picture: "
        f"{1000 * region:.0f} ms. All {tiles} regions, the full cost of that picture, would take "
        f"≈{tiles * region:.0f} s by extrapolation.",
        "",
        f"Encoding an image of {encode['side']}×{encode['side']} to an 8×8 latent:",
        "",
        *markdown_table(["", "time relative to R2IR", "peak memory, MiB"], rows_encode),
    ]
