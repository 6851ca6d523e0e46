"""The line that says what a command made."""

from __future__ import annotations


def result_line(made: int, share: int, noun: str, where: str) -> str:
    """(3, 8, "picture", "in out") → "3 pictures in out"; with nothing made of a share, "kept all 8 pictures in out".

    Args:
        made: how many were made.
        share: how many this process had to see to.
        noun: the name of one.
        where: the rest of the line.
    """
    count = made or share
    things = f"{count} {noun if count == 1 else f'{noun}s'}"
    if made or not share:
        return f"{things} {where}"
    return f"kept {'the' if share == 1 else 'all'} {noun if share == 1 else things} {where}"
