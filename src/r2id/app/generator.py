"""The part of the page that generates: pictures, decoded again and looked at, and the visitor's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio
from PIL import Image

from r2id.app.earlier import Earlier, with_newest
from r2id.app.ellipses import ellipses, visible
from r2id.app.parts import component, data_address, in_strip, said
from r2id.app.session import WHOLE, Session, zoomed
from r2id.app.studio import LARGEST_LATENT, MOST_STEPS, PROPORTIONS, Studio, rendered
from r2id.errors import InputError
from r2id.geometry.sizes import Size, check_size, size_text

TO_THE_PICTURES = """() => {
    const line = document.querySelector("#line");
    if (line.getBoundingClientRect().top > 0.7 * innerHeight) line.scrollIntoView({behavior: "smooth"});
}"""
"""Scrolls to the pictures, which on a phone are below the controls and out of sight."""

PRESET_OF = "(height, width) => %s.find(text => text === `${height}x${width}`) ?? null"
"""In the browser, where quick typing does not outrun the answers."""

LATENTS_ON = """(height, width) => {
    const ratio = Math.sqrt(height / width), least = side => Math.min(Math.max(Math.round(side), 1), %d);
    return height > 0 && width > 0 ? [least(%d * ratio), least(%d / ratio)] : [%d, %d];
}"""
"""In the browser too: the latents of a model of many proportions, as dense in each direction."""

ABOUT = """Generate {what}, with latents of any height and width. Decode the same latents at any size, and zoom into the
picture as a function of coordinates. Everything runs on this machine."""

ONE, JOINT, PANORAMA = "one canvas", "several proportions as one picture", "a panorama"
FEW_LABELS = 20
"""Most labels that have a box each; more are searched for by their name."""


def generator(studio: Studio) -> tuple[gradio.Button, gradio.State]:
    """Add the part of a studio to the page: generate, decode again, zoom, encode a picture.

    Returns the button that sends the picked picture to be continued, and the state of the visitor.
    """

    def size_of(height: float | None, width: float | None, name: str) -> Size:
        if height is None or width is None:
            raise InputError(f"{name} is incomplete; give a height and a width")
        return check_size((height, width), name)

    def shown(session: Session, latent: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the pictures alone, then with the picked one, the `latent`, a line of text and the session."""
        of = f"{session.count} latents" if session.count > 1 else "1 latent"
        grids, sizes = (
            ", ".join(dict.fromkeys(map(size_text, sides)))
            for sides in ([one.grid for one in session.canvases], [one.size for one in session.canvases])
        )
        line = f"{of} of {grids}, decoded at {sizes}"
        pictures = studio.pictures(session)
        strip = in_strip(pictures, session.names)
        yield strip, *(gradio.skip(),) * 4
        yield strip, viewed(session, studio.overview(session, pictures)), latent, line, session

    def viewed(session: Session, picture: Image.Image) -> dict[str, Any]:
        """Return what the viewer shows: the visible part of the picked picture, and the ellipses of all its splats."""
        value: dict[str, Any] = {"picture": data_address(picture)}
        if splats := studio.splats(session):
            value |= {"part": visible(*rendered(session), splats.extent), "ellipses": ellipses(splats)}
        return value

    def latent_of(session: Session) -> str:
        """Return the latent of the picked picture."""
        return data_address(studio.channels(session))

    @said
    def generate(  # type: ignore[no-untyped-def]
        labels, latent_height, latent_width, height, width, steps, guidance, seed,
        count=1, canvas=ONE, proportions=(), times_as_wide=1,
    ):  # fmt: skip
        latent_size = size_of(latent_height, latent_width, "the latent size")
        size = size_of(height, width, "the picture size")
        if isinstance(labels, str):
            labels = [text.strip() for text in labels.splitlines() if text.strip()]
        for sentence in studio.remarks(labels):
            gradio.Warning(sentence)
        if canvas == JOINT and len(proportions) < 2:
            raise InputError(f"{len(proportions)} proportions are chosen; choose at least 2")
        jointly = [PROPORTIONS[text] for text in proportions] if canvas == JOINT else []
        wide = int(times_as_wide) if canvas == PANORAMA else 1
        each = [label for label in labels for _ in range(int(count))]
        made = studio.generate(each, latent_size, size, int(steps), guidance, int(seed or 0), jointly, wide)
        for step, one in enumerate(made):
            if isinstance(one, Session):
                yield from shown(one, latent_of(one))
            else:
                skip, large = gradio.skip(), {"picture": data_address(studio.enlarged(one[0]))}
                names = [label for label in each for _ in range(len(one) // len(each))]
                yield in_strip(one, names), large, skip, f"step {step + 1} of {int(steps)}", skip

    @said
    def encode(path, latent_height, latent_width, height, width):  # type: ignore[no-untyped-def]
        latent_size = size_of(latent_height, latent_width, "the latent size")
        session = studio.encode(path, latent_size, size_of(height, width, "the picture size"))
        yield from shown(session, latent_of(session))

    @said
    def decode(session: Session | None, height, width):  # type: ignore[no-untyped-def]
        if session is None:
            yield (gradio.skip(),) * 5
        else:
            session = session.resized(size_of(height, width, "the picture size"))
            yield from shown(session, gradio.skip())

    def keep(session: Session, earlier: tuple[Earlier, ...]):  # type: ignore[no-untyped-def]
        [small] = in_strip([studio.thumbnail(session)], [", ".join(dict.fromkeys(session.names))])
        earlier = with_newest(Earlier(session, small), earlier)
        return earlier, [one.shown for one in earlier], gradio.Column(visible=len(earlier) > 1)

    @said
    def go_back(earlier: tuple[Earlier, ...], event: gradio.EventData):  # type: ignore[no-untyped-def]
        if not 0 <= event.index < len(earlier):
            yield (gradio.skip(),) * 5
        else:
            session = earlier[event.index].session
            yield from shown(session, latent_of(session))

    @said
    def pick(session: Session | None, event: gradio.EventData):  # type: ignore[no-untyped-def]
        if session is None or not 0 <= event.index < session.count:
            return (gradio.skip(),) * 3
        session = replace(session, picked=event.index, view=WHOLE)
        return viewed(session, studio.look(session)), latent_of(session), session

    @said
    def zoom(session: Session | None, event: gradio.EventData):  # type: ignore[no-untyped-def]
        if session is None or len(event.part) != 4:
            return gradio.skip(), gradio.skip()
        session = replace(session, view=zoomed(session.view, event.part))
        return viewed(session, studio.look(session)), session

    @said
    def zoom_out(session: Session | None):  # type: ignore[no-untyped-def]
        if session is None:
            return gradio.skip(), gradio.skip()
        session = replace(session, view=WHOLE)
        return viewed(session, studio.look(session)), session

    @said
    def save(session: Session | None):  # type: ignore[no-untyped-def]
        if session is None:
            raise InputError("there is nothing to download yet; generate or encode a picture first")
        return gradio.File([str(path) for path in studio.files(session)], visible=True)

    defaults, presets = studio.defaults, {size_text(size): size for size in studio.sizes}
    default_latent = [min(side, LARGEST_LATENT) for side in defaults.latent_size]
    if studio.labels:
        what = f"pictures of {', '.join(studio.labels)}" if len(studio.labels) <= 10 else "pictures by class"
    else:
        what = "pictures from prompts"
    downloads = "PNG, latents and splats" if studio.resampler.has_splats else "PNG and latents"
    session, earlier = gradio.State(None, time_to_live=3600), gradio.State((), time_to_live=3600)
    gradio.Markdown(ABOUT.format(what=what))
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            with gradio.Tab("Generate"):
                if not studio.labels:
                    labels: Any = gradio.Textbox(
                        "\n".join(defaults.shown((), 2)),
                        label="Prompts, one in a line",
                        lines=2,
                        placeholder="red heart",
                        elem_id="texts",
                    )
                elif len(studio.labels) <= FEW_LABELS:
                    labels = gradio.CheckboxGroup(
                        studio.labels, value=defaults.shown(studio.labels, 10), label="Labels"
                    )
                else:
                    labels = gradio.Dropdown(
                        studio.labels,
                        value=defaults.shown(studio.labels, 2),
                        multiselect=True,
                        label="Classes",
                        elem_id="classes",
                    )
                with gradio.Row():
                    steps = gradio.Slider(
                        1, MOST_STEPS, min(defaults.num_inference_steps, MOST_STEPS), step=1, label="Steps"
                    )
                    guidance = gradio.Slider(
                        1, 10, min(max(defaults.guidance_scale, 1), 10), step=0.1, label="Guidance"
                    )
                with gradio.Row():
                    # A prompt is one of many pictures; ten digits are enough.
                    count = gradio.Slider(
                        1, 10, 1 if 0 < len(studio.labels) <= FEW_LABELS else 2, step=1, label="Pictures each"
                    )
                    seed = gradio.Number(1, precision=0, minimum=0, label="Seed")
                canvas = gradio.Radio(
                    [ONE, JOINT, *([PANORAMA] if studio.is_pyramid else [])],
                    value=ONE,
                    label="Canvas",
                    elem_id="canvas",
                )
                proportions = gradio.CheckboxGroup(
                    list(PROPORTIONS), value=list(PROPORTIONS)[:3], label="Proportions, width to height", visible=False,
                    elem_id="proportions",
                )  # fmt: skip
                times_as_wide = gradio.Slider(2, 8, 4, step=1, label="Times as wide", visible=False)
                generate_button = gradio.Button("Generate", variant="primary", elem_id="generate")
            with gradio.Tab("Your picture"):
                upload = gradio.File(label="Picture", type="filepath", file_types=["image"], elem_id="upload")
                encode_button = gradio.Button("Encode and decode", variant="primary", elem_id="encode")
            with gradio.Group():
                with gradio.Row():
                    latent_height = gradio.Slider(1, LARGEST_LATENT, default_latent[0], step=1, label="Latent height")
                    latent_width = gradio.Slider(1, LARGEST_LATENT, default_latent[1], step=1, label="Latent width")
                with gradio.Row():
                    height = gradio.Number(defaults.size[0], precision=0, label="Picture height", elem_id="height")
                    width = gradio.Number(defaults.size[1], precision=0, label="Picture width", elem_id="width")
                preset = gradio.Radio(
                    list(presets),
                    value=size_text(defaults.size) if defaults.size in studio.sizes else None,
                    label="Picture sizes, height × width",
                    elem_id="preset",
                )
                decode_button = gradio.Button("Decode the same latents at this size", elem_id="decode")
        with gradio.Column(scale=3, min_width=300):
            line = gradio.Markdown("Nothing is generated yet.", elem_id="line")
            strip = gradio.HTML([], **component("strip"))
            viewer = gradio.HTML(None, **component("viewer"), has_splats=studio.resampler.has_splats)
            with gradio.Row():
                out_button = gradio.Button("Zoom out", size="sm", elem_id="zoom-out")
                save_button = gradio.Button("Prepare downloads", size="sm", elem_id="save")
                continue_button = gradio.Button("Outpaint or inpaint", size="sm", elem_id="continue")
            gradio.Markdown(
                "Drag over the picture to zoom into a part. On a touch screen, begin sideways. "
                "Click a small picture to see it here."
            )
            with gradio.Column(visible=False, elem_id="earlier") as before:
                gradio.Markdown("Earlier, newest first. Click one to go back to it.")
                gallery = gradio.HTML([], **component("strip", "gallery"))
            files = gradio.File(label=downloads, interactive=False, visible=False, elem_id="files")
            with gradio.Accordion("The latent, channel by channel", open=False):
                latent = gradio.HTML("", **component("latent"))
    everything = [strip, viewer, latent, line, session]
    sizes = [latent_height, latent_width, height, width]
    # Two queues, so that looking does not wait for pictures of another visitor.
    hidden: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "looking"}
    unqueued = hidden | {"queue": False, "show_progress": "hidden"}
    # Progress and errors are shown once, not on every part of the page that changes.
    many, one = hidden | {"show_progress_on": strip}, hidden | {"show_progress_on": viewer}
    # First, as gradio awaits the listeners of an event one after another.
    for asks in (generate_button.click, encode_button.click, decode_button.click, preset.input):
        asks(None, js=TO_THE_PICTURES, **hidden)
    made = (
        generate_button.click(
            generate,
            [labels, *sizes, steps, guidance, seed, count, canvas, proportions, times_as_wide],
            everything,
            **many | {"concurrency_id": "generating"},
        ),
        encode_button.click(encode, [upload, *sizes], everything, **many),
    )
    for is_made in made:
        is_made.success(keep, [session, earlier], [earlier, gallery, before], **unqueued)
    shows_others = (
        *made,
        gallery.select(go_back, earlier, everything, **many),
        decode_button.click(decode, [session, height, width], everything, **many),
        preset.input(lambda text: presets[text], preset, [height, width], **unqueued).then(
            decode, [session, height, width], everything, **many
        ),
        strip.select(pick, session, [viewer, latent, session], **one),
    )
    for shown_others in shows_others:
        # The files are those of pictures that were shown before.
        shown_others.success(lambda: gradio.File(None, visible=False), None, files, **unqueued)
    canvas.input(
        lambda chosen: (gradio.CheckboxGroup(visible=chosen == JOINT), gradio.Slider(visible=chosen == PANORAMA)),
        canvas,
        [proportions, times_as_wide],
        **unqueued,
    )
    for side in (height, width):
        side.input(None, [height, width], preset, js=PRESET_OF % json.dumps(list(presets)), **hidden)
        if studio.chooses_latents:
            latents_on = LATENTS_ON % (LARGEST_LATENT, *default_latent, *default_latent)
            side.change(None, [height, width], [latent_height, latent_width], js=latents_on, **hidden)
    viewer.select(zoom, session, [viewer, session], **one)
    out_button.click(zoom_out, session, [viewer, session], **one)
    save_button.click(save, session, files, **hidden)
    return continue_button, session
