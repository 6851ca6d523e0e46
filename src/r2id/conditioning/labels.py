"""Class labels as conditioning tokens (design §1.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from r2id.files.label_names import index_of_label
from r2id.networks.loading import CheckedLoading


class LabelConditioner(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Class labels → tokens [B, num_tokens, dim]. An extra entry is "no label", which guidance needs.

    Args:
        label_names: names of the labels, in the order of their indices.
        num_tokens, dim: shape of the tokens of one label.
    """

    @register_to_config
    def __init__(self, label_names: Sequence[str] = tuple("0123456789"), num_tokens: int = 2, dim: int = 192) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(label_names) + 1, num_tokens * dim)

    @property
    def label_names(self) -> list[str]:
        return list(self.config.label_names)

    @property
    def no_label(self) -> int:
        """The index of "no label"."""
        return len(self.config.label_names)

    def index(self, label: str | int) -> int:
        """Return the index of a label. Raises InputError if the model does not know it."""
        if hasattr(label, "item"):
            label = label.item()  # of numpy and torch
        return index_of_label(label, self.label_names)

    def read(self, labels: Sequence[str | int | None]) -> Tensor:
        """Return the indices of labels [B]; None means no label. Raises InputError if the model does not know one."""
        return torch.tensor([self.no_label if label is None else self.index(label) for label in labels])

    def forward(self, indices: Tensor) -> Tensor:
        """Label indices [B] → tokens [B, num_tokens, dim]."""
        return self.embedding(indices).unflatten(-1, (self.config.num_tokens, self.config.dim))
