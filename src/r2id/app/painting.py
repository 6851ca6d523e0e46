"""The part of the page that continues a given picture: drag an edge to outpaint, paint over a part to inpaint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio
from PIL import Image

from r2id.app.easel import Change, Easel, Painting, added_pixels, painted_part
from r2id.app.parts import component, data_address, said
from r2id.app.session import Session
from r2id.app.studio import MOST_STEPS
from r2id.errors import InputError
from r2id.files.atomic import file_name
from r2id.geometry.sizes import size_text

ABOUT = """Drop a picture. Drag an edge outwards to continue it beyond the edge, or paint over a part to have that part
made anew. All other pixels stay exactly. Everything runs on this machine."""
UNSAID = "whatever the picture suggests"


def painting(easel: Easel, send: gradio.Button, session: gradio.State, tabs: gradio.Tabs) -> None:
    """Add the part of an easel to the page.

    Args:
        easel: does what is asked.
        send: button that brings the picked picture of `session` here.
        session: the visitor's, in the generator.
        tabs: those of the page, of which this part is "painting".
    """

    def shown(painting: Painting, made: Image.Image | None = None, text: str = "") -> dict[str, Any]:
        """Return what the component shows: the painting, or what is made of it so far, small."""
        picture = made or painting.picture
        return {
            "picture": data_address(picture),
            "height": picture.height,
            "width": picture.width,
            "most": easel.largest(painting),
            "ready": made is None,
            "text": text or size_text(painting.size),
            "file": f"{file_name(painting.name)}-{size_text(painting.size)}.png",
        }

    def opened(painting: Painting) -> tuple[Any, ...]:
        """Return what is shown of a painting that waits for its visitor."""
        return shown(painting), painting, *(gradio.Button(interactive=bool(painting.before)),) * 2

    def painted(
        painting: Painting,
        change: Change,
        label: str | None,
        steps: float,
        guidance: float,
        seed: float,
        back: Painting,
    ) -> Iterator[tuple[Any, ...]]:
        """Yield what is shown while a painting is changed, and after an error the one to go `back` to."""
        label = None if label in (None, UNSAID) else label.strip()
        for sentence in easel.studio.remarks([label] if label else []):
            gradio.Warning(sentence)
        began = False
        try:
            for step, one in enumerate(easel.paint(painting, change, label, int(steps), guidance, int(seed or 0))):
                if isinstance(one, Painting):
                    yield opened(one)
                else:
                    text = f"step {step} of {int(steps)}" if step else "begins …"
                    yield shown(painting, one, text), *(gradio.skip(),) * 3
                    began = True
        except InputError:
            if began:
                yield opened(back)
            raise

    def present(painting: Painting | None) -> Painting:
        if painting is None:
            raise InputError("this picture is no longer kept; choose it again")
        return painting

    @said
    def open_upload(path):  # type: ignore[no-untyped-def]
        return opened(easel.open(path))

    @said
    def open_picked(session: Session | None):  # type: ignore[no-untyped-def]
        if session is None:
            raise InputError("there is no picture yet; generate or encode one first")
        label = next(iter(session.picked_one.labels), unsaid)
        picture = easel.of(easel.studio.picture(session), label or "picture")
        return *opened(picture), gradio.Tabs(selected="painting"), label

    @said
    def change(painting: Painting | None, label, steps, guidance, seed, event: gradio.EventData):  # type: ignore[no-untyped-def]
        painting, asked = present(painting), event._data
        what = painted_part(asked["mask"], painting.size) if "mask" in asked else added_pixels(asked.get("added"))
        yield from painted(painting, what, label, steps, guidance, seed, painting)

    @said
    def again(painting: Painting | None, label, steps, guidance, seed):  # type: ignore[no-untyped-def]
        painting = present(painting)
        before, what = easel.again(painting)
        seed = int(seed or 0) + 1
        for one in painted(before, what, label, steps, guidance, seed, painting):
            yield *one, seed

    @said
    def undo(painting: Painting | None):  # type: ignore[no-untyped-def]
        return opened(easel.undone(present(painting)))

    labels, defaults = easel.studio.labels, easel.studio.defaults
    unsaid = UNSAID if labels else ""
    painting = gradio.State(None, time_to_live=3600)
    gradio.Markdown(ABOUT)
    with gradio.Row(equal_height=True):
        with gradio.Column(scale=2, min_width=260):
            upload = gradio.File(label="Picture", type="filepath", file_types=["image"], height=132, elem_id="given")
        with gradio.Column(scale=3, min_width=260):
            if labels:
                label: Any = gradio.Dropdown([UNSAID, *labels], value=UNSAID, label="It shows", elem_id="shows")
            else:
                label = gradio.Textbox(
                    label="Prompt of the whole picture", placeholder=UNSAID, lines=2, elem_id="shows"
                )
    stage = gradio.HTML(None, **component("easel"))
    with gradio.Row():
        undo_button = gradio.Button("Undo", interactive=False, elem_id="undo")
        again_button = gradio.Button("Another version", interactive=False, elem_id="again")
    with gradio.Accordion("Sampling", open=False), gradio.Row():
        steps = gradio.Slider(1, MOST_STEPS, min(defaults.num_inference_steps, MOST_STEPS), step=1, label="Steps")
        guidance = gradio.Slider(1, 10, min(max(defaults.guidance_scale, 1), 10), step=0.1, label="Guidance")
        seed = gradio.Number(1, precision=0, minimum=0, label="Seed")
    everything, how = [stage, painting, undo_button, again_button], [painting, label, steps, guidance, seed]
    quick: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "looking", "show_progress": "hidden"}
    slow = quick | {"concurrency_id": "generating"}
    upload.upload(open_upload, upload, everything, **quick)
    send.click(open_picked, session, [*everything, tabs, label], **quick)
    stage.select(change, how, everything, **slow)
    again_button.click(again, how, [*everything, seed], **slow)
    undo_button.click(undo, painting, everything, **quick)
