"""Vector pictures with captions: packages of Iconify, joined to the names of emoji, as a folder that training reads.

A picture's style, its package, is part of its captions. The pictures of one concept, in all styles, are in one split.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from r2id.conditioning.word_vectors import load_word_vectors
from r2id.data.content import counted
from r2id.data.drawings import ACCEPTED, distinct_names, read_icons, read_member, rendered, svg_of
from r2id.errors import InputError
from r2id.files.atomic import file_name, replace_folder
from r2id.files.svg import check_renderer

FINER = 4
"""Pictures are rendered so many times larger, and areas averaged. Rendered directly, small ones have jagged edges."""

EMOJI_NAMES = "en/data.json"
ACCEPTED_NAMES = "give the package emojibase-data, as `npm pack` fetches it, or its folder"
SKIN_TONE_NAME = re.compile(r"-(skin-)?tone\b|-tone\d")
SKIN_TONES = range(0x1F3FB, 0x1F400)
OF_HAIR = re.compile(r"(man|woman|person): (.* hair|beard|bald)")
REGIONAL_A = 0x1F1E6
MOST_TAGS = 8


@dataclass(frozen=True)
class NamedDrawing:
    """A vector picture with its captions.

    Attributes:
        svg: SVG without a size.
        style: name of its package in words, such as "fluent emoji flat".
        name: its name in the package.
        concept: its subject, the same in all styles.
        captions: texts that name it; the first says subject and style.
        source: name, author and licence of its package.
    """

    svg: str
    style: str
    name: str
    concept: str
    captions: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Emoji:
    """The label of an emoji, such as "red heart", and its tags."""

    label: str
    tags: tuple[str, ...]


class EmojiNames:
    """Emoji by code point, and by names that differ in punctuation only.

    Args:
        source: the package emojibase-data as `npm pack` fetches it, or its folder.
    Raises:
        InputError: the source cannot be read, or is no such package.
    """

    def __init__(self, source: Path) -> None:
        rows = read_member(source, EMOJI_NAMES, ACCEPTED_NAMES)
        try:
            self.by_code = {
                _plain_code(row["hexcode"]): Emoji(_in_words(row["label"]), tuple(row.get("tags", ()))) for row in rows
            }
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{source} holds no {EMOJI_NAMES} with labels of emoji; {ACCEPTED_NAMES}") from error
        self.by_name = {_squashed(emoji.label): emoji for emoji in self.by_code.values()}

    def learn(self, codes: Mapping[str, str]) -> None:
        """Learn a package's names of emoji, {code point: name}, which other packages use without code points."""
        for code, name in codes.items():
            emoji = self.by_code.get(_plain_code(code))
            if emoji:
                self.by_name.setdefault(_squashed(name), emoji)

    def find(self, name: str, code: str | None, in_flags: bool) -> Emoji | None:
        """Return the emoji of a name or a code point. In a package of flags, two letters name a country."""
        if code and (emoji := self.by_code.get(_plain_code(code))):
            return emoji
        if in_flags and re.fullmatch("[a-z]{2}", name):
            return self.by_code.get(" ".join(f"{REGIONAL_A + ord(letter) - ord('a'):X}" for letter in name))
        alike = re.sub(r"^flag-(for-)?(flag-)?", "flag-", name)
        candidates = (name, alike, re.sub(r"-\d$", "", name))
        return next((self.by_name[key] for one in candidates if (key := _squashed(one)) in self.by_name), None)


def named_drawings(sources: Sequence[Path], names: Path) -> list[NamedDrawing]:
    """Return the drawings of packages of Iconify with captions, without skin tones, smaller copies and unnamed flags.

    Captions are an emoji's label with the style and without, with its tags, and the name in the package. A drawing that
    is no emoji has its name. Equal drawings of a package are one, with the captions of all.

    Args:
        sources: packages of Iconify as `npm pack` fetches them, or folders with an icons.json.
        names: the package emojibase-data, or its folder.
    Raises:
        InputError: a source cannot be read.
    """
    emoji_names, ranks = EmojiNames(names), word_ranks()
    packages = [(read_icons(one), read_member(one, "chars.json", ACCEPTED) or {}) for one in sources]
    for _, codes in packages:
        emoji_names.learn(codes)
    found: list[NamedDrawing] = []
    for (icons, codes), source in zip(packages, sources, strict=True):
        prefix = str(icons.get("prefix", source.name))
        style, terms = prefix.replace("-", " "), _source_text(source)
        by_name = {name: code for code, name in codes.items()}
        of_flags = "flag" in prefix
        same: dict[str, NamedDrawing] = {}
        for name in _one_of_each_size(distinct_names(icons)):
            code = by_name.get(name)
            emoji = emoji_names.find(name, code, of_flags)
            # A flag's name is a code of letters, which is no caption.
            if _has_skin_tone(name, code) or (of_flags and not emoji):
                continue
            words = spelled_out(re.sub(r"-\d+$", "", name), ranks)
            concept, captions = emoji.label if emoji else words, _captions(words, emoji, style)
            svg = svg_of(icons, name)
            if before := same.get(svg):
                concept, captions = before.concept, (*before.captions, *captions)
                name = before.name
            same[svg] = NamedDrawing(svg, style, name, concept, tuple(dict.fromkeys(captions)), terms)
        found += same.values()
    return found


def render_named_drawings(
    drawings: Sequence[NamedDrawing],
    output: Path,
    *,
    size: int = 128,
    test_share: float = 0.05,
    num_workers: int = 0,
    on_drawing: Callable[[int], object] = lambda count: None,
) -> str:
    """Render named drawings to a folder with the splits train and test, and return one line about them.

    A split holds STYLE/NAME.png, transparent, and a metadata.jsonl with the captions as `text`, the style as `label`
    and the concept. SOURCES.md names authors and licences. An interruption leaves no folder.

    Args:
        drawings: from `named_drawings`.
        output: a folder that does not exist or is empty.
        size: side of the pictures in pixels.
        test_share: share of the concepts in the split test; a concept is there by its name alone.
        num_workers: processes that render; 0, the default, for none beside the caller's.
        on_drawing: called with 1 for each drawing.
    Raises:
        InputError: an argument is invalid, the folder holds something, none can be rendered, or resvg-py is not
            installed.
    """
    check_renderer()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} holds something already; give a folder that does not exist or is empty")
    if size < 1:
        raise InputError(f"size is {size}; it must be at least 1")
    if not 0 <= test_share < 1:
        raise InputError(f"test_share is {test_share}; it must be at least 0 and less than 1")
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}

    def write(folder: Path) -> None:
        pictures = rendered([drawing.svg for drawing in drawings], FINER * size, num_workers)
        for drawing, picture in zip(drawings, pictures, strict=True):
            on_drawing(1)
            if picture is None:
                continue
            split = "test" if held_out(drawing.concept, test_share) else "train"
            path = Path(file_name(drawing.style)) / f"{file_name(drawing.name)}.png"
            (folder / split / path).parent.mkdir(parents=True, exist_ok=True)
            averaged(picture).save(folder / split / path)
            about = {"text": drawing.captions, "label": drawing.style, "concept": drawing.concept}
            rows[split].append({"file_name": path.as_posix(), **about})
        for split, some in rows.items():
            if some:
                lines = (json.dumps(row, ensure_ascii=False) for row in some)
                (folder / split / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if not any(rows.values()):
            raise InputError(f"none of {counted(len(drawings), 'drawing')} can be rendered; {ACCEPTED}")
        sources = sorted({drawing.source for drawing in drawings})
        text = ["# Sources", "", *(f"- {source}" for source in sources), "", "Captions: emojibase-data, MIT."]
        (folder / "SOURCES.md").write_text("\n".join(text) + "\n", encoding="utf-8")

    replace_folder(output, write)
    drawn = sum(map(len, rows.values()))
    left_out = f"; left out {counted(len(drawings) - drawn, 'drawing')} that cannot be rendered"
    styles = counted(len({row["label"] for some in rows.values() for row in some}), "style")
    parts = ", ".join(f"{len(some)} in {split}" for split, some in rows.items() if some)
    return f"{counted(drawn, 'drawing')} of {styles} in {output}: {parts}{left_out if drawn < len(drawings) else ''}"


def averaged(picture: Image.Image) -> Image.Image:
    """Return a picture RGBA at a FINER-th of its size, averaged over areas. Transparent pixels lend no colour."""
    return picture.convert("RGBa").reduce(FINER).convert("RGBA")


def held_out(concept: str, share: float) -> bool:
    """Return whether a concept belongs to the split test, which its name alone decides."""
    return zlib.crc32(concept.lower().encode()) < share * 2**32


def word_ranks() -> dict[str, int]:
    """Return the rank of each bundled word, 1 for the most frequent."""
    return {word: rank for rank, word in enumerate(load_word_vectors().words, start=1)}


def spelled_out(name: str, ranks: Mapping[str, int]) -> str:
    """Return the words of a picture's name: "foxsmiling" → "fox smiling", "clock2-oclock" → "clock 2 oclock"."""
    parts = re.findall(r"\d+(?:st|nd|rd|th)\b|\d+|[^\W\d_]+", name)
    return " ".join(word for part in parts for word in _split(part, ranks)) or name


def _split(part: str, ranks: Mapping[str, int]) -> list[str]:
    """Split letters into known words; none are split that are known, or cannot be split.

    The split with the most frequent words is chosen, by Zipf's law: the cost of a word is the logarithm of its rank.
    """
    if part in ranks or not part.isalpha():
        return [part]
    most = math.log(len(ranks))
    costs, words = [0.0], [[""]]
    for end in range(1, len(part) + 1):
        known = ((start, ranks.get(part[start:end])) for start in range(end))
        options = [
            (costs[start] + math.log(rank * most), start) for start, rank in known if rank and costs[start] < math.inf
        ]
        cost, start = min(options, default=(math.inf, 0))
        costs.append(cost)
        words.append([*words[start], part[start:end]])
    return words[-1][1:] if costs[-1] < math.inf else [part]


def _captions(words: str, emoji: Emoji | None, style: str) -> tuple[str, ...]:
    """Return captions of a picture named `words`; the first has its subject and style."""
    subjects = [words]
    if emoji:
        tags = [tag for tag in emoji.tags if tag != emoji.label][:MOST_TAGS]
        subjects = [emoji.label, *([words] if _squashed(words) != _squashed(emoji.label) else [])]
        subjects += [", ".join([emoji.label, *tags])] if tags else []
        subjects += [", ".join(tags)] if len(tags) > 1 else []
    return (f"{subjects[0]}, {style} style", subjects[0], *(f"{subject}, {style} style" for subject in subjects[1:]))


def _one_of_each_size(names: Sequence[str]) -> list[str]:
    """Return names of drawings; of those that differ by a size alone, such as heart-16 and heart-32, the largest.

    One digit counts drawings of a subject, and all stay.
    """
    largest: dict[str, int] = {}
    for name in names:
        base, _, size = name.rpartition("-")
        if base and re.fullmatch(r"\d\d", size):
            largest[base] = max(largest.get(base, 0), int(size))

    def is_kept(name: str) -> bool:
        base, _, size = name.rpartition("-")
        return not re.fullmatch(r"\d\d", size) or int(size) == largest.get(base, int(size))

    return [name for name in names if is_kept(name)]


def _has_skin_tone(name: str, code: str | None) -> bool:
    tones = code and any(int(part, 16) in SKIN_TONES for part in code.split("-")[1:])
    return bool(tones or SKIN_TONE_NAME.search(name))


def _in_words(label: str) -> str:
    """Return "woman with red hair" for "woman: red hair"."""
    return OF_HAIR.sub(r"\1 with \2", label).replace("with bald", "with bald head")


def _plain_code(code: str) -> str:
    """Return code points without the one that asks for a colour picture: "2764-fe0f" → "2764"."""
    return " ".join(part for part in code.upper().split("-") if part != "FE0F")


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("&", "and"))


def _source_text(source: Path) -> str:
    """Return a package's name, author and licence."""
    about = read_member(source, "info.json", ACCEPTED) or {}
    author, terms = about.get("author", {}), about.get("license", {})
    known = (
        about.get("name", source.name),
        author.get("name", "author not given"),
        terms.get("spdx") or terms.get("title") or "licence not given",
        author.get("url"),
    )
    return ", ".join(part for part in known if part)
