"""The page of `r2id app`: parts that generate, that continue a given picture, and for photographs."""

from __future__ import annotations

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


def build(studio: Studio | None, enlarger: Enlarger | None = None) -> gradio.Blocks:
    """Build the page of a studio, an enlarger, or both as tabs, with its queue."""
    with gradio.Blocks(title="R2ID", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.Markdown("# R2ID")
        if studio:
            with gradio.Tabs() as tabs:
                with gradio.Tab("Generator"):
                    send, session = generator(studio)
                with gradio.Tab("Outpaint and inpaint", id="painting"):
                    painting(Easel(studio), send, session, tabs)
                if enlarger:
                    with gradio.Tab("Photographs"):
                        photographs(enlarger)
        elif enlarger:
            photographs(enlarger)
    # One request per queue at a time; more would slow each other down.
    return page.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)


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
            # Fonts of the visitor's machine, so that none are fetched.
            theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        )
    except OSError as error:
        raise InputError(f"port {port} is taken, or cannot be served; give another with --port") from error
    return page
