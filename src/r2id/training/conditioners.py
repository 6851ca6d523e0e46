"""The conditioner of a training: of labels, of words, or of a frozen text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate import PartialState

from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner, load_text_encoder
from r2id.conditioning.word_vectors import load_word_vectors, word_vector_folder
from r2id.conditioning.words import WordConditioner
from r2id.data.captions import Captions, WordCaptions
from r2id.files.record import plain


def conditioning_parts(
    text_encoder: str | None, names: Sequence[str], num_tokens: int, dim: int, trained: Any = None
) -> tuple[dict[str, Any], Captions | WordCaptions | None]:
    """Return the parts of a pipeline that read labels or texts, and for texts a module that takes their indices.

    Args:
        text_encoder: as in `DiffuserTraining`.
        names: the labels, or the distinct captions.
        num_tokens, dim: shape of the tokens of one label or text.
        trained: the conditioner of an initial model; it is taken if it has the same kind and subject.
    Raises:
        InputError: the text encoder cannot be loaded.
    """
    shape = {"num_tokens": num_tokens, "dim": dim}
    if not text_encoder:
        return {"conditioner": _trained_or_new(trained, LabelConditioner, shape, label_names=names)}, None
    if folder := word_vector_folder(text_encoder):
        known = isinstance(trained, WordConditioner)
        words = trained.with_words(names) if known else WordConditioner.of(load_word_vectors(folder), names, **shape)
        return {"conditioner": words}, WordCaptions(words, names)
    tokenizer, encoder = load_text_encoder(text_encoder)
    texts = _trained_or_new(trained, TextConditioner, shape, text_dim=encoder.config.hidden_size)
    process = PartialState()
    captions = Captions(texts, tokenizer, encoder.to(process.device), names, process.is_local_main_process)
    return {"conditioner": texts, "text_encoder": encoder, "tokenizer": tokenizer}, captions


def _trained_or_new(trained: Any, kind: Any, shape: dict[str, int], **subject: Any) -> Any:
    """Return the initial model's conditioner if it has this kind and subject, or a new one."""
    if isinstance(trained, kind) and all(
        plain(trained.config[name]) == plain(value) for name, value in subject.items()
    ):
        return trained
    return kind(**subject, **shape)
