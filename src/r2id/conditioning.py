"""What a picture should show, as tokens that R2ID attends to (design §1.4): one of some labels, or a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from r2id.errors import InputError
from r2id.model import CheckedLoading

LONGEST_TEXT = 256
"""Tokens of a text that are read, where its encoder reads so many."""


class LabelConditioner(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Class labels → tokens [B, num_tokens, dim]. One extra entry stands for "no label", as guidance needs.

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
        """The index that stands for no label."""
        return len(self.config.label_names)

    def index(self, label: str | int) -> int:
        """Index of a label given by name. Raises InputError if the model does not know it."""
        if str(label) not in self.label_names:
            raise InputError(f"label {label!r} is not known to this model; it knows {', '.join(self.label_names)}")
        return self.label_names.index(str(label))

    def forward(self, indices: Tensor) -> Tensor:
        """Label indices [B] → tokens [B, num_tokens, dim]."""
        return self.embedding(indices).unflatten(-1, (self.config.num_tokens, self.config.dim))


class TextConditioner(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Hidden states of a text encoder, however many → tokens [B, num_tokens, dim]. The empty text stands for none.

    As many learned queries attend to the states: the cost of a denoising step does not depend on the text.

    Args:
        text_dim: channels of the states.
        num_tokens, dim: shape of the tokens of one text.
        num_heads: heads of the attention; must divide `dim`.
    """

    label_names: tuple[str, ...] = ()

    @register_to_config
    def __init__(self, text_dim: int, num_tokens: int = 8, dim: int = 192, num_heads: int = 4) -> None:
        super().__init__()
        self.states_in = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, dim))
        self.queries = nn.Parameter(torch.randn(num_tokens, dim))
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """States [B, L, text_dim], read where `present`, bool [B, L], is true → tokens [B, num_tokens, dim]."""
        states = self.states_in(states.to(self.queries.dtype))
        queries = self.queries.expand(len(states), -1, -1)
        read, _ = self.attention(queries, states, states, key_padding_mask=~present, need_weights=False)
        return self.out(queries + read)


def load_text_encoder(name: str) -> tuple[Any, Any]:
    """The tokenizer and the frozen text encoder of a folder or a Hugging Face hub id: of CLIP, T5, BERT and the like.

    Raises InputError where there is none, or not as safetensors.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    # It would warn of every weight of the half that reads images.
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(name)
        # Of a model of texts and images, such as CLIP, the half that reads texts.
        config = getattr(config, "text_config", config)
        auto = AutoModelForTextEncoding if type(config) in AutoModelForTextEncoding._model_mapping else AutoModel
        encoder, report = auto.from_pretrained(name, config=config, use_safetensors=True, output_loading_info=True)
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
        if missing:
            raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
        tokenizer = AutoTokenizer.from_pretrained(name)
        # Where there is no vocabulary, one of nothing but special tokens is made up.
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise ValueError("its tokenizer knows no words")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name} cannot be loaded as a text encoder ({reason}); accepted is a folder or a hub id of a transformers "
            "model of texts with its tokenizer, as safetensors"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    return tokenizer, encoder.requires_grad_(False).eval()


@torch.no_grad()
def text_states(tokenizer: Any, encoder: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The last hidden states of texts, [B, L, text_dim], and which of them are of a text, bool [B, L].

    Texts are cut at as many tokens as the encoder reads, at most `LONGEST_TEXT`.
    """
    length = min(tokenizer.model_max_length, LONGEST_TEXT)
    read = tokenizer(list(texts), padding="longest", truncation=True, max_length=length, return_tensors="pt")
    read = {name: read[name].to(encoder.device) for name in ("input_ids", "attention_mask")}
    if not read["attention_mask"].any(dim=1).all():
        raise InputError("this tokenizer makes no token at all of some text; accepted is one that marks a text's end")
    return encoder(**read).last_hidden_state, read["attention_mask"].bool()
