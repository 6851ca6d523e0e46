"""The part of the page for photographs: Lanczos and R2IR side by side at any zoom, and the whole enlarged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio
from PIL import Image

from r2id.app.enlarger import LEAST_ZOOM, MOST_ZOOM, Enlarger, Photograph, View, valid_view
from r2id.app.parts import component, data_address, said
from r2id.batch.resampling import Target
from r2id.errors import InputError
from r2id.geometry.sizes import size_text

ABOUT = """Drop a photograph, and drag the divider between a Lanczos filter and R2IR. Click to zoom in, Shift-click to
zoom out, drag to move. R2IR renders every view anew, so zooming has no end. Everything runs on this machine."""
SCALES = {"×2": 2, "×3": 3, "×4": 4}
OWN = "own width"


def photographs(enlarger: Enlarger) -> None:
    """Add the part of an enlarger to the page: look at a photograph, zoom, download it enlarged."""

    def shown(photograph: Photograph, view: View, *, small: str, r2ir: Image.Image | None = None) -> dict[str, Any]:
        """Return what the component shows of a view, with Lanczos in R2IR's place until that is rendered."""
        top, left, bottom, right = enlarger.region(photograph, view)
        height, width = (side * view.zoom for side in photograph.size)
        lanczos = data_address(enlarger.lanczos(photograph, view))
        part = {
            "top": top / height,
            "left": left / width,
            "height": (bottom - top) / height,
            "width": (right - left) / width,
        }
        across = tuple(f"{side / view.zoom:.4g}" for side in (bottom - top, right - left))
        centre = f"row {(top + bottom) / 2 / view.zoom:.6g}, column {(left + right) / 2 / view.zoom:.6g}"
        return {
            "photograph": photograph.path,
            "lanczos": lanczos,
            "r2ir": data_address(r2ir) if r2ir else lanczos,
            "ready": r2ir is not None,
            "map": small,
            "view": view._asdict(),
            "zoom": f"{view.zoom:,}",
            "text": f"{'x'.join(across)} of {size_text(photograph.size)} pixels, around {centre}",
            "part": {edge: 100 * value for edge, value in part.items()},
            "size": photograph.size,
            "most": enlarger.shown,
            "height": bottom - top,
            "width": right - left,
            "least": LEAST_ZOOM,
            "deepest": MOST_ZOOM,
        }

    def looked(photograph: Photograph, view: View) -> Iterator[dict[str, Any]]:
        """Yield the view by Lanczos at once, and by both when R2IR has rendered it."""
        small = data_address(enlarger.small(photograph))
        yield shown(photograph, view, small=small)
        yield shown(photograph, view, small=small, r2ir=enlarger.r2ir(photograph, view))

    def opened(photograph: Photograph) -> Iterator[tuple[Any, ...]]:
        for value in looked(photograph, enlarger.first_view(photograph)):
            yield value, photograph, gradio.Number(2 * photograph.size[1]), gradio.Column(visible=True)

    @said
    def open_upload(path):  # type: ignore[no-untyped-def]
        yield from opened(enlarger.open(path))

    @said
    def open_example():  # type: ignore[no-untyped-def]
        yield from opened(enlarger.example())

    @said
    def look(photograph: Photograph | None, event: gradio.EventData):  # type: ignore[no-untyped-def]
        if photograph is None:
            yield gradio.skip()
        else:
            yield from looked(photograph, valid_view(photograph, event.y, event.x, event.zoom))

    @said
    def enlarge(photograph: Photograph | None, scale, width, progress=gradio.Progress()):  # type: ignore[no-untyped-def] # noqa: B008
        if photograph is None:
            raise InputError("there is no photograph yet; drop one first")
        if scale == OWN and (width is None or width < 1):
            raise InputError(f"the width is {width}; it must be a whole number of at least 1")
        target = Target(width=int(width)) if scale == OWN else Target(scale=SCALES[scale])
        size = target.of(photograph.size)
        path = enlarger.enlarge(photograph, size, lambda part: progress(part, "R2IR renders"))
        return gradio.File(str(path), visible=True)

    photograph = gradio.State(None, time_to_live=3600)
    gradio.Markdown(ABOUT)
    with gradio.Row(equal_height=True):
        with gradio.Column(scale=3, min_width=260):
            upload = gradio.File(
                label="Photograph", type="filepath", file_types=["image"], height=132, elem_id="photograph"
            )
        with gradio.Column(scale=1, min_width=160):
            example = gradio.Button("Show an example", elem_id="example")
    compare = gradio.HTML(None, **component("compare"))
    with gradio.Column(visible=False) as download:
        with gradio.Row(equal_height=True):
            scale = gradio.Radio([*SCALES, OWN], value="×2", label="Enlarge the whole", elem_id="scale")
            width = gradio.Number(
                precision=0, minimum=1, label="Own width in pixels", visible=False, elem_id="own-width"
            )
            button = gradio.Button("Render for download", variant="primary", elem_id="enlarge")
        file = gradio.File(label="Enlarged", interactive=False, visible=False, elem_id="enlarged")
    hidden: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "looking"}
    at_once = hidden | {"queue": False, "show_progress": "hidden"}
    quiet = hidden | {"show_progress": "hidden"}
    everything = [compare, photograph, width, download]
    for shows_another in (
        upload.upload(open_upload, upload, everything, **quiet),
        example.click(open_example, None, everything, **quiet),
    ):
        shows_another.success(lambda: gradio.File(None, visible=False), None, file, **at_once)
    # The component asks for one view at a time.
    compare.select(look, photograph, compare, trigger_mode="multiple", **quiet)
    scale.input(lambda text: gradio.Number(visible=text == OWN), scale, width, **at_once)
    # Enlarging takes long, and looking does not wait for it.
    button.click(enlarge, [photograph, scale, width], file, **hidden | {"concurrency_id": "generating"})
