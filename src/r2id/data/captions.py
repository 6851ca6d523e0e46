"""Captions of a data set, read or encoded once, so that training steps run no frozen text encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from r2id.conditioning.text import TextConditioner, text_states
from r2id.conditioning.words import WordConditioner
from r2id.data.dataset import AnyDataset, all_captions


class Captions(nn.Module):
    """A text conditioner that takes labels: label i is the i-th text. States are kept in half precision.

    Args:
        conditioner: the trained part, which reads the states.
        tokenizer, encoder: from `load_text_encoder`.
        texts: the distinct captions.
        progress: whether to show a progress bar.
    """

    def __init__(
        self, conditioner: TextConditioner, tokenizer: Any, encoder: Any, texts: Sequence[str], progress: bool
    ) -> None:
        super().__init__()
        self.conditioner = conditioner
        # The empty text means no text.
        texts, self.no_label = [*texts, ""], len(texts)
        self.states: list[Tensor] = []
        for start in tqdm(range(0, len(texts), 64), desc="encoding captions", leave=False, disable=not progress):
            states, present = text_states(tokenizer, encoder, texts[start : start + 64])
            self.states += [one[which].to("cpu", torch.float16) for one, which in zip(states, present, strict=True)]

    def forward(self, indices: Tensor) -> Tensor:
        """Map indices of texts [B] to tokens [B, num_tokens, dim]."""
        chosen = [self.states[index] for index in indices.tolist()]
        states = pad_sequence(chosen, batch_first=True).to(indices.device)
        lengths = torch.tensor([len(one) for one in chosen], device=indices.device)
        present = torch.arange(states.shape[1], device=indices.device) < lengths[:, None]
        return self.conditioner(states.float(), present)


class WordCaptions(nn.Module):
    """A word conditioner that takes labels: label i is the i-th text, whose words were read once.

    Args:
        conditioner: the trained conditioner.
        texts: the distinct captions.
    """

    def __init__(self, conditioner: WordConditioner, texts: Sequence[str]) -> None:
        super().__init__()
        self.conditioner, self.no_label = conditioner, len(texts)
        self.words = conditioner.read([*texts, None])

    def forward(self, indices: Tensor) -> Tensor:
        """Map indices of texts [B] to tokens [B, num_tokens, dim]."""
        self.words = self.words.to(indices.device)
        return self.conditioner(self.words[indices])


def labelled_by_captions(datasets: Iterable[AnyDataset]) -> list[AnyDataset]:
    """Return the data with captions as labels: [N], or [N, K] if an image has up to K captions, filled up with −1."""
    datasets = list(datasets)
    captions = [all_captions(data) for data in datasets]
    names = tuple(sorted({text for texts in chain.from_iterable(captions) for text in texts}))
    index = {name: number for number, name in enumerate(names)}
    rows = [[torch.tensor([index[text] for text in texts]) for texts in some] for some in captions]
    labels = [pad_sequence(some, batch_first=True, padding_value=-1) for some in rows]
    return [
        replace(data, labels=some[:, 0] if some.shape[1] == 1 else some, label_names=names)
        for data, some in zip(datasets, labels, strict=True)
    ]


def one_of_each(labels: Tensor, seed: int) -> Tensor:
    """Return one label per image, [B]: a random one of labels [B, K] from `labelled_by_captions`."""
    if labels.ndim == 1:
        return labels
    drawn = torch.randint(2**62, (len(labels),), generator=torch.Generator().manual_seed(seed))
    return labels.gather(1, (drawn % (labels >= 0).sum(1))[:, None])[:, 0]
