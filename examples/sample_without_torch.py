"""A picture of every label, from what `r2id export` wrote. Needs numpy, onnxruntime and Pillow, but no torch.

python examples/sample_without_torch.py EXPORTED OUTPUT --latent-size 6x10 --size 32x32 --size 27x48 --canvas 9x16
"""

import argparse
import json
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image


def size(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


parser = argparse.ArgumentParser(description="Sample a picture of every label. Sizes are HEIGHTxWIDTH.")
parser.add_argument("exported", help="folder that r2id export wrote")
parser.add_argument("output", help="folder for a sheet of each size")
parser.add_argument("--latent-size", type=size, default=(8, 8), help="of the latents, 8x8 by default")
parser.add_argument("--size", type=size, action="append", help="of the pictures, 32x32 by default; repeat it for more")
parser.add_argument("--canvas", type=size, help="proportions, by default the model's or the first size's")
options = parser.parse_args()
model = json.loads(Path(options.exported, "model.json").read_text())
diffuser, decoder = (InferenceSession(Path(options.exported, model[name])) for name in ("diffuser", "decoder"))
labels = np.arange(len(model["labels"]))
latent_size, sizes = options.latent_size, options.size or [(32, 32)]
canvas = np.array(options.canvas or model["canvas"] or sizes[0])  # other sizes stretch the picture

# A denser grid takes more noise per sample, so that an area of the picture is as noisy on every grid.
ratio = np.prod(latent_size) / model["noise_reference_size"] ** 2 if model["noise_reference_size"] else 1
alpha_bars = np.array(model["alphas_cumprod"])
alpha_bars = alpha_bars / (alpha_bars + ratio * (1 - alpha_bars))
# DDIM (Song et al. 2021, arXiv:2010.02502): guess the clean sample, and add the guessed noise of the next time to it.
sample = np.random.default_rng(0).standard_normal((len(labels), model["channels"], *latent_size), np.float32)
for time, after in zip(model["timesteps"], [*alpha_bars[model["timesteps"][1:]], 1.0], strict=True):
    alpha_bar = np.full(len(labels), alpha_bars[time], np.float32)
    low, high = model["guidance_interval"]
    guidance = np.float32(model["guidance_scale"] if low <= time / len(alpha_bars) <= high else 1)
    inputs = {"sample": sample, "alpha_bar": alpha_bar, "labels": labels, "canvas": canvas}
    (prediction,) = diffuser.run(None, {**inputs, "guidance_scale": np.array(guidance)})
    signal, spread = np.float32(alpha_bars[time] ** 0.5), np.float32((1 - alpha_bars[time]) ** 0.5)
    clean, noise = signal * sample - spread * prediction, spread * sample + signal * prediction
    if model["prediction_type"] == "epsilon":
        clean, noise = (sample - spread * prediction) / signal, prediction
    elif model["prediction_type"] == "sample":
        clean, noise = prediction, (sample - signal * prediction) / spread
    sample = np.float32(after**0.5) * clean + np.float32((1 - after) ** 0.5) * noise

mean, std = (np.float32(model[name])[:, None, None] for name in ("latent_mean", "latent_std"))
latents = (sample * std + mean).clip(-1, 1)
output = Path(options.output)
output.mkdir(parents=True, exist_ok=True)
for height, width in sizes:
    place = {"size": np.array([height, width]), "rows": np.arange(height), "columns": np.arange(width)}
    (pixels,) = decoder.run(None, {"latents": latents, "canvas": canvas, **place})
    levels = ((pixels + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    sheet = np.concatenate(list(levels.transpose(0, 2, 3, 1)), axis=1)  # all labels beside each other, [H, B·W, C]
    Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(output / f"{height}x{width}.png")
