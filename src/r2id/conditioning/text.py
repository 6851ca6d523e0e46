"""Texts as conditioning tokens, through a frozen text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from r2id.errors import InputError
from r2id.networks.loading import CheckedLoading

LONGEST_TEXT = 256
"""Most tokens of a text that are read; the encoder may read fewer."""


OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert")
"""Encoders whose positions begin after that of padding."""


class TextConditioner(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Hidden states of a text encoder → tokens [B, num_tokens, dim]. The empty text means no text.

    `num_tokens` learned queries attend to the states, so the cost of a denoising step does not depend on the text.

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
        # Larger ones would drown what they read, and all texts would be alike at first.
        self.queries = nn.Parameter(0.1 * torch.randn(num_tokens, dim))
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        # Tokens are as large as those of labels.
        nn.init.normal_(self.out.get_parameter("1.weight"), std=dim**-0.5)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """Map states [B, L, text_dim] where `present`, bool [B, L], is true to tokens [B, num_tokens, dim]."""
        states = self.states_in(states.to(self.queries.dtype))
        queries = self.queries.expand(len(states), -1, -1)
        read, _ = self.attention(queries, states, states, key_padding_mask=~present, need_weights=False)
        return self.out(queries + read)


def load_text_encoder(name: str) -> tuple[Any, Any]:
    """Load the tokenizer and the frozen text encoder of a folder or a Hugging Face hub id, such as CLIP, T5 or BERT.

    Raises InputError if there is none, or its weights are not safetensors.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    # transformers would warn of every weight of the image encoder.
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(name)
        # A model of texts and images, such as CLIP, has a config for its text encoder.
        config = getattr(config, "text_config", config)
        auto = AutoModelForTextEncoding if type(config) in AutoModelForTextEncoding._model_mapping else AutoModel
        encoder, report = auto.from_pretrained(name, config=config, use_safetensors=True, output_loading_info=True)
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
        if missing:
            raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
        tokenizer = AutoTokenizer.from_pretrained(name)
        # Without a vocabulary, transformers makes one of special tokens only.
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise ValueError("its tokenizer knows no words")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name} cannot be loaded as a text encoder ({reason}); give a folder or a hub id of a transformers "
            "model of texts with its tokenizer, as safetensors"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    return tokenizer, encoder.requires_grad_(False).eval()


@torch.no_grad()
def text_states(tokenizer: Any, encoder: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the last hidden states of texts, [B, L, text_dim], and a mask of those that are not padding, bool [B, L].

    Texts are truncated to the tokens that the encoder reads, at most `LONGEST_TEXT`.
    """
    # A tokenizer that does not know the limit of its encoder reports a huge number.
    positions = getattr(encoder.config, "max_position_embeddings", LONGEST_TEXT)
    if getattr(encoder.config, "model_type", "") in OFFSET_POSITIONS:
        positions -= encoder.config.pad_token_id + 1
    length = min(tokenizer.model_max_length, positions, LONGEST_TEXT)
    read = tokenizer(list(texts), padding="longest", truncation=True, max_length=length, return_tensors="pt")
    read = {name: read[name].to(encoder.device) for name in ("input_ids", "attention_mask")}
    if not read["attention_mask"].any(dim=1).all():
        raise InputError("this tokenizer makes no token at all of some text; choose one that marks a text's end")
    return encoder(**read).last_hidden_state, read["attention_mask"].bool()
