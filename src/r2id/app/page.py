"""The pages of `r2id app`: one for each model that generates, and one for photographs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import gradio

from r2id.app.easel import Easel
from r2id.app.enlarger import Enlarger
from r2id.app.generator import generator
from r2id.app.painting import painting
from r2id.app.photographs import photographs
from r2id.app.studio import Studio
from r2id.errors import InputError

UPLOAD_BYTES = "50mb"
WAITING = 32
"""Most requests in the queue."""
SESSIONS = 100
"""Most visitors whose latents are kept."""
THREADS = 8
"""Threads of both queues and all files. torch keeps memory for every thread that called it."""


def build(makers: Mapping[str, Studio | Enlarger]) -> gradio.Blocks:
    """Build a page for each studio or enlarger, by its title, with a navigation and one queue for all.

    The first page is at /, each other one at its title in small letters.
    """
    blocks, first = gradio.Blocks(title="R2ID", analytics_enabled=False, delete_cache=(600, 3600)), next(iter(makers))
    for title, maker in makers.items():
        # Pages, not tabs: ids of elements and scripts suppose one generator in a document.
        with blocks if title == first else blocks.route(title):
            gradio.Navbar(main_page_name=first)
            gradio.Markdown(f"# {title}")
            if isinstance(maker, Studio):
                with gradio.Tabs() as tabs:
                    with gradio.Tab("Generator"):
                        send, session = generator(maker)
                    with gradio.Tab("Outpaint and inpaint", id="painting"):
                        painting(Easel(maker), send, session, tabs)
            else:
                photographs(maker)
            blocks.load(None, js=f"() => {{ document.title = {json.dumps(f'{title} · R2ID')} }}")
    # One request per queue at a time; more would slow each other down.
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)


def launch(page: gradio.Blocks, port: int, browser: bool = False) -> gradio.Blocks:
    """Serve the page on this machine only, until its `close()`.

    Args:
        page: what `build` made.
        port: port of http://127.0.0.1.
        browser: whether to open the page in a browser.

    Raises:
        InputError: the port is taken.
    """
    try:
        page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            inbrowser=browser,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=UPLOAD_BYTES,
            state_session_capacity=SESSIONS,
            max_threads=THREADS,
            enable_monitoring=False,
            footer_links=[],
            css_paths=Path(__file__).with_suffix(".css"),
            # Fonts of the visitor's machine, so that none are fetched.
            theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        )
    except OSError as error:
        raise InputError(f"port {port} is taken, or cannot be served; give another with --port") from error
    return page
