"""The pages of a site: which there are, what each holds, and what they share."""

from collections import Counter

import pytest

from r2id.app.enlarger import Enlarger
from r2id.app.page import build
from r2id.app.studio import Studio


@pytest.fixture
def makers(make_pipeline, word_pipeline, make_pyramid):
    return {
        "Flowers": Studio(make_pipeline()),
        "Drawings": Studio(word_pipeline),
        "Photographs": Enlarger(make_pyramid),
    }


def ids(blocks, path):
    """How often each id of an element occurs on the page at a path."""
    return Counter(block.elem_id for block in blocks.blocks.values() if block.elem_id and block.page == path)


def test_each_has_a_page_and_the_first_is_the_one_that_visitors_see(makers):
    blocks = build(makers)
    # gradio calls the main page Home, and the bar of each page gives it its title.
    assert [path for path, *_ in blocks.pages] == ["", "drawings", "photographs"]
    bars = [block for block in blocks.blocks.values() if block.get_block_name() == "navbar"]
    assert {bar.page: bar.main_page_name for bar in bars} == dict.fromkeys(("", "drawings", "photographs"), "Flowers")


def test_pages_hold_what_their_makers_have_alone(makers):
    blocks = build(makers)
    for title, maker in makers.items():
        path = "" if title == "Flowers" else title.lower()
        assert ids(blocks, path) == ids(build({title: maker}), "")
        # Scripts find elements by id.
        assert set(ids(blocks, path).values()) == {1}
    assert "texts" in ids(blocks, "drawings") and "texts" not in ids(blocks, "")
    assert "compare" in ids(blocks, "photographs") and "generate" not in ids(blocks, "photographs")


def test_all_pages_share_one_queue_for_pictures(makers):
    queues = {(one.name, one.concurrency_id) for one in build(makers).fns.values() if one.name in ("generate", "look")}
    assert queues == {("generate", "generating"), ("look", "looking")}


def test_one_alone_has_nowhere_to_go(word_pipeline):
    assert build({"Drawings": Studio(word_pipeline)}).pages == [("", "Home", True)]
