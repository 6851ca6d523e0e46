"""Pictures of one colour, and their files."""

from pathlib import Path

from PIL import Image


def picture(colour: int | tuple[int, ...], size: tuple[int, int] = (5, 4), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
