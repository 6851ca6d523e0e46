"""Captions of a data set, encoded once, so that a training step pays nothing for the text encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from r2id.conditioning.text import TextConditioner, text_states
from r2id.data.dataset import ImageDataset


class Captions(nn.Module):
    """A text conditioner as a conditioner of labels: label i is the i-th text. The states are kept in half precision.

    Args:
        conditioner: reads the states; trained.
        tokenizer, encoder: as `load_text_encoder` gives them.
        texts: the captions, each once.
        progress: whether to show a progress bar.
    """

    def __init__(
        self, conditioner: TextConditioner, tokenizer: Any, encoder: Any, texts: Sequence[str], progress: bool
    ) -> None:
        super().__init__()
        self.conditioner = conditioner
        # The empty text stands for none.
        texts, self.no_label = [*texts, ""], len(texts)
        self.states: list[Tensor] = []
        for start in tqdm(range(0, len(texts), 64), desc="encoding captions", leave=False, disable=not progress):
            states, present = text_states(tokenizer, encoder, texts[start : start + 64])
            self.states += [one[which].to("cpu", torch.float16) for one, which in zip(states, present, strict=True)]

    def forward(self, indices: Tensor) -> Tensor:
        """Indices of texts [B] → tokens [B, num_tokens, dim]."""
        chosen = [self.states[index] for index in indices.tolist()]
        states = pad_sequence(chosen, batch_first=True).to(indices.device)
        lengths = torch.tensor([len(one) for one in chosen], device=indices.device)
        present = torch.arange(states.shape[1], device=indices.device) < lengths[:, None]
        return self.conditioner(states.float(), present)


def labelled_by_captions(datasets: Iterable[ImageDataset]) -> list[ImageDataset]:
    """The same images, each with its caption as its label."""
    datasets = list(datasets)
    names = tuple(sorted({caption for data in datasets for caption in data.captions or ()}))
    index = {name: number for number, name in enumerate(names)}
    return [
        replace(data, labels=torch.tensor([index[caption] for caption in data.captions or ()]), label_names=names)
        for data in datasets
    ]
