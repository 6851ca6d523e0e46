"""Texts as conditioning tokens, through word vectors and a small transformer that is trained along.

It needs no other model: the vectors and the vocabulary are among its weights.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from r2id.conditioning.text import TextConditioner
from r2id.conditioning.word_vectors import WordVectors, load_word_vectors, word_vector_folder, words_of
from r2id.errors import InputError
from r2id.files.checksums import checksum
from r2id.networks.layers import MLPBlock
from r2id.networks.loading import CheckedLoading

MOST_WORDS = 64
"""Most words of a text that are read."""

PADDING = -1
ALIKE = 0.8
"""Least similarity, from 0 to 1, of a word to the known one that it is read as."""
SHORTEST_ALIKE = 4
"""Least letters of a word that is read as another. Of fewer, too many are similar."""
MOST_TOLD = 3
"""Most unknown words of a text that its remark names."""
ARTICLE = "a"
"""The bundled vectors have no single letters, and nobody misses this one."""

logger = logging.getLogger(__name__)


class WordConditioner(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Words of a text → tokens [B, num_tokens, dim]. The empty text means no text.

    Words with a fixed vector generalise to others of similar meaning. Words of the training captions without one have a
    vector that is learned.

    Args:
        fixed_words, learned_words: number of words with a fixed and with a learned vector.
        spelling_bytes: bytes of all words, in UTF-8, with a line end between two.
        word_dim: length of the vectors.
        text_dim, num_blocks: channels and blocks of the transformer.
        num_tokens, dim: shape of the tokens of one text.
        num_heads: heads of the attention; must divide `text_dim` and `dim`.
        vectors_of: the bundled word vectors that weights saved without any take, by `share_vectors`.
    """

    label_names: tuple[str, ...] = ()

    @register_to_config
    def __init__(
        self,
        fixed_words: int,
        learned_words: int,
        spelling_bytes: int,
        word_dim: int = 100,
        text_dim: int = 192,
        num_blocks: int = 2,
        num_tokens: int = 8,
        dim: int = 192,
        num_heads: int = 4,
        vectors_of: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("spelling", torch.zeros(spelling_bytes, dtype=torch.uint8))
        fixed = shared_vectors(vectors_of) if vectors_of else torch.zeros(fixed_words, word_dim, dtype=torch.float16)
        self.register_buffer("fixed", fixed, persistent=not vectors_of)
        # The first begins every text, and is all of the empty one.
        self.learned = nn.Parameter(torch.randn(1 + learned_words, word_dim))
        self.position = nn.Parameter(0.1 * torch.randn(1 + MOST_WORDS, text_dim))
        self.word_in = nn.Sequential(nn.LayerNorm(word_dim), nn.Linear(word_dim, text_dim))
        self.blocks = nn.ModuleList(TextBlock(text_dim, num_heads) for _ in range(num_blocks))
        self.reader = TextConditioner(text_dim, num_tokens, dim, num_heads)
        self._told: set[str] = set()

    @classmethod
    def of(cls, vectors: WordVectors, texts: Iterable[str], **shape: Any) -> WordConditioner:
        """Return an untrained conditioner that knows these vectors and all words of `texts`.

        `shape` are further arguments, such as `num_tokens` and `dim`.
        """
        fixed = {word: index for index, word in enumerate(vectors.words)}
        learned = sorted({word for text in texts for word in words_of(text)} - fixed.keys())
        spelling = torch.frombuffer(bytearray("\n".join([*learned, *vectors.words]).encode()), dtype=torch.uint8)
        size = {"fixed_words": len(fixed), "learned_words": len(learned), "spelling_bytes": len(spelling)}
        conditioner = cls(**size, word_dim=vectors.vectors.shape[1], **shape)
        conditioner.spelling.copy_(spelling)
        conditioner.fixed.copy_(vectors.vectors)
        return conditioner

    def share_vectors(self, name: str = "words") -> None:
        """Save no fixed vectors from now on: they are those bundled as `name`, and are loaded from there.

        Raises InputError if they differ.
        """
        folder = word_vector_folder(name)
        if folder is None or not torch.equal(load_word_vectors(folder).vectors, self.fixed.cpu()):
            raise InputError(f"vectors are bundled as {name!r}; they must be those of this conditioner")
        self.register_to_config(vectors_of={"name": name, "checksum": checksum([self.fixed])})
        self.register_buffer("fixed", self.fixed, persistent=False)

    def with_words(self, texts: Iterable[str]) -> WordConditioner:
        """Return this conditioner, or one with its weights that also knows all words of `texts`."""
        new = sorted({word for text in texts for word in words_of(text)} - self.vocabulary.keys())
        if not new:
            return self
        before = list(self.vocabulary)
        known = WordVectors(tuple(before[self.config.learned_words :]), self.fixed)
        shapes = ("text_dim", "num_blocks", "num_tokens", "dim", "num_heads", "vectors_of")
        shape = {name: self.config[name] for name in shapes}
        learned = before[: self.config.learned_words]
        extended = WordConditioner.of(known, [*learned, *new], **shape)
        state = self.state_dict() | {"spelling": extended.spelling, "learned": extended.learned.detach().clone()}
        places = [0, *(extended.vocabulary[word] for word in learned)]
        state["learned"][places] = self.learned.detach()
        extended.load_state_dict(state)
        return extended

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Indices of the known words; those with a learned vector come first, and 0 begins every text."""
        words = bytes(self.spelling.cpu().tolist()).decode().split()
        return {word: index for index, word in enumerate(words, start=1)}

    def read(self, texts: Sequence[str | int | None]) -> Tensor:
        """Return indices of the words of texts for `forward`, int64 [B, L]; None means no text.

        An unknown word is read as the known one that is spelled most like it, or left out; at most MOST_WORDS words are
        read. The log has one line for each text of which this is true.
        """
        read = [self._read(text) for text in texts]
        for _, remark in read:
            self._tell(remark)
        rows = [[0, *indices] for indices, _ in read]
        longest = max(map(len, rows), default=1)
        return torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])

    def remarks(self, texts: Sequence[str | int | None]) -> list[str]:
        """Return a line for each text of which something is not read, or read as another."""
        return list(filter(None, dict.fromkeys(self._read(text)[1] for text in texts)))

    def forward(self, words: Tensor) -> Tensor:
        """Map indices of words [B, L] from `read` to tokens [B, num_tokens, dim]."""
        present, learned_count = words != PADDING, len(self.learned)
        learned = self.learned[words.clamp(0, learned_count - 1)]
        fixed = self.fixed[(words - learned_count).clamp(min=0)].to(learned.dtype)
        x = self.word_in(torch.where((words < learned_count)[..., None], learned, fixed))
        x = x + self.position[: words.shape[1]]
        for block in self.blocks:
            x = block(x, present)
        return self.reader(x, present)

    def _read(self, text: str | int | None) -> tuple[list[int], str]:
        """Return the indices of the words of a text, and a remark on what is not read as it is, or ""."""
        if text is None:
            return [], ""
        words = words_of(str(text))
        read = {word: self._known(word) for word in words[:MOST_WORDS]}
        found = [self.vocabulary[known] for word in words[:MOST_WORDS] if (known := read[word]) is not None]
        if not found:
            return [], f"no word of the text {str(text)[:40]!r} is known, so the picture may show anything"
        remarks = []
        if len(words) > MOST_WORDS:
            remarks.append(f"a text has {len(words)} words, and the first {MOST_WORDS} are read")
        replaced = {word: known for word, known in read.items() if known not in (word, None)}
        left_out = [word for word, known in read.items() if known is None and word != ARTICLE]
        for unknown, how in ((list(replaced), f"read as {_listed(list(replaced.values()))}"), (left_out, "left out")):
            if unknown:
                verb = "word {} is" if len(unknown) == 1 else "words {} are"
                remarks.append(f"the {verb.format(_listed(unknown))} not known, and {how}")
        return found, "; ".join(remarks)

    def _known(self, word: str) -> str | None:
        """Return a word, or the known one that is spelled most like it; None if none is alike."""
        if word in self.vocabulary:
            return word
        if word == ARTICLE or len(word) < SHORTEST_ALIKE:
            return None
        return next(iter(difflib.get_close_matches(word, self.vocabulary, 1, ALIKE)), None)

    def _tell(self, sentence: str) -> None:
        """Log a sentence once; "" is none."""
        if sentence and sentence not in self._told:
            self._told.add(sentence)
            logger.warning(sentence)


def _listed(words: Sequence[str | None]) -> str:
    more = f" and {len(words) - MOST_TOLD} more" if len(words) > MOST_TOLD else ""
    return ", ".join(repr(str(word)[:40]) for word in words[:MOST_TOLD]) + more


def shared_vectors(of: dict[str, Any]) -> Tensor:
    """Return the vectors that `WordConditioner.share_vectors` told of. Raises InputError if they are not there, or
    others."""
    folder = word_vector_folder(of["name"])
    vectors = load_word_vectors(folder).vectors if folder else torch.empty(0)
    if checksum([vectors]) != of["checksum"]:
        raise InputError(
            f"the word vectors {of['name']} are not those that this model learnt texts by; "
            "take the version of r2id that it came with"
        )
    return vectors


class TextBlock(nn.Module):
    """x ← x + attention(norm(x)); x ← x + feed-forward(norm(x)), with softmax attention among the words."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.feed = MLPBlock(dim)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Map words [B, L, dim], of which those `present`, bool [B, L], are seen, to [B, L, dim]."""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, normed, key_padding_mask=~present, need_weights=False)[0]
        return x + self.feed(self.feed_norm(x))
