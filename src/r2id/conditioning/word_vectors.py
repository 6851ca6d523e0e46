"""Word vectors: a fixed vocabulary with a vector for each word, in a folder, and how a text is split into words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from r2id.errors import InputError

VECTORS, WORDS = "vectors.safetensors", "words.txt"
BUNDLED = Path(__file__).parent.parent / "pretrained" / "words"

IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(f"[{IDEOGRAPH}]|[^\\W_{IDEOGRAPH}]+")
"""Letters and digits. Each sign of Chinese and Japanese is a word of its own."""


@dataclass(frozen=True)
class WordVectors:
    """Words, the most frequent first, and their vectors, float16 [len(words), D]."""

    words: tuple[str, ...]
    vectors: Tensor


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, without punctuation and the 's of a genitive."""
    text = unicodedata.normalize("NFKC", text).lower()
    return WORD.findall(re.sub(r"['’](s\b)?", "", text))


def word_vector_folder(name: str) -> Path | None:
    """Return the folder of word vectors of this name: a path, or "words", the bundled ones. None if there is none."""
    return next((folder for folder in (Path(name), BUNDLED.parent / name) if (folder / VECTORS).is_file()), None)


def load_word_vectors(folder: Path = BUNDLED) -> WordVectors:
    """Load words.txt and vectors.safetensors of a folder. Raises InputError if they are damaged or do not match."""
    try:
        words = tuple((folder / WORDS).read_text(encoding="utf-8").split())
        vectors = load_file(folder / VECTORS)["vectors"].to(torch.float16)
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise ValueError(f"{len(words)} words and vectors of the shape {tuple(vectors.shape)}")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{folder} cannot be read as word vectors ({error}); give a folder with {WORDS}, a word a line, and "
            f"{VECTORS}, with as many rows in its tensor 'vectors'"
        ) from error
    return WordVectors(words, vectors)
