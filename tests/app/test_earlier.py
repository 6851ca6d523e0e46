"""Earlier pictures of a visitor: the newest first, and not more than fit."""

import pytest
import torch

from r2id.app import earlier
from r2id.app.earlier import Earlier, with_newest
from r2id.app.session import Session


def one(number: int, side: int = 2) -> Earlier:
    session = Session(torch.full((1, 1, side, side), float(number)), ("rose",), (1, 1), (4, 4))
    return Earlier(session, {"address": "", "name": "rose"})


def numbers(kept: tuple[Earlier, ...]) -> list[float]:
    return [each.session.latents[0, 0, 0, 0].item() for each in kept]


def test_the_newest_come_first_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "MOST", 3)
    kept: tuple[Earlier, ...] = ()
    for number in range(5):
        kept = with_newest(one(number), kept)
    assert numbers(kept) == [4, 3, 2]


def test_large_latents_leave_room_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "MOST_NUMBERS", 24)
    kept = with_newest(one(2, side=4), (one(1), one(0)))
    assert numbers(kept) == [2, 1, 0]
    assert numbers(with_newest(one(3), kept)) == [3, 2, 1]
    # The newest is kept, however large.
    assert numbers(with_newest(one(4, side=8), kept)) == [4]


def test_pictures_have_the_names_of_their_labels_on_every_canvas() -> None:
    latents = torch.zeros(2, 1, 2, 2)
    wide = Session(latents, ("rose", "lotus"), (1, 2), (4, 8))
    joint = Session(latents, ("rose", "lotus"), (1, 1), (4, 4), others=(wide,))
    assert joint.names == ("rose", "rose", "lotus", "lotus")
    assert Session(latents, (), (1, 1), (4, 4)).names == ("your picture", "your picture")
