"""All measurements of `r2id evaluate`, in order, each with its own seed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from r2id.data.dataset import ImageDataset
from r2id.diffusion.defaults import sampling_options
from r2id.diffusion.guidance import check_guidance
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation import denoising_error, duplicates, generation, reconstruction
from r2id.evaluation.canvases import measure_joint, measure_outpainting
from r2id.evaluation.colour_judge import ColourJudge, ColourJudging
from r2id.evaluation.denoising_error import conditions_of, measure_denoising_error, side_by_side, write_denoising_error
from r2id.evaluation.duplicates import (
    HELD_OUT,
    LAYOUTS,
    LEARNT,
    SCALES,
    SubjectCounter,
    measure_counter,
    measure_duplicates,
)
from r2id.evaluation.generation import (
    Reference,
    Unfinished,
    check_digits,
    load_judge,
    measure_generation,
    seen_size,
)
from r2id.evaluation.judge import Judge
from r2id.evaluation.neighbours import write_neighbours
from r2id.evaluation.panoramas import measure_panoramas
from r2id.evaluation.plan import COLOUR_COUNTS, COLOUR_ONLY, Plan
from r2id.evaluation.reconstruction import measure_consistency, measure_reconstruction
from r2id.evaluation.report import CALLED, Report
from r2id.files.atomic import check_writable
from r2id.files.checksums import checksum
from r2id.geometry.sizes import Size, size_text
from r2id.networks.resampler import R2IR
from r2id.runtime.memory import check_fits_in_memory
from r2id.runtime.precision import autocast, usable_precision
from r2id.runtime.progress import Progress, unseen

NOT_THE_FID = "r2id: the Fréchet distance of colour pictures has the features of EfficientNet-Lite0; it is not the FID"


def evaluate(
    pipeline: R2Pipeline,
    data: ImageDataset,
    plan: Plan,
    *,
    colour: ColourJudging | None = None,
    about: Mapping[str, Any] | None = None,
    output: Path | None = None,
    resume: bool = False,
    progress: Progress = unseen,
) -> Report:
    """Measure, print and keep the figures of a plan. Parts that cannot be measured are named on standard error.

    Args:
        pipeline: the model.
        data: test images.
        plan: the measurements.
        colour: judges generated pictures; by default the bundled classifier of digits does.
        about: further settings to keep with the figures, such as the model's name.
        output: folder for evaluation.json, which is whole after every latent size, and for the denoising error as CSV
            and plot; with `colour`, also for neighbours.png.
        resume: keep the figures in `output` and continue after them; at most a minute of generation is lost.
        progress: display of the progress.
    Raises:
        InputError: nothing can be measured, memory is too small, or the figures in `output` have other settings.
        OSError: `output` cannot be written to.
        KeyboardInterrupt: with a sentence that names the file of the finished figures.
    """
    if resume and output is None:
        raise InputError("--resume is given without --output, the folder of the figures to go on after; give both")
    if colour is None:
        asked: dict[str, Any] = {name: getattr(plan, name) or 0 for name in COLOUR_COUNTS}
        plan = replace(plan, **asked)
    plan = plan.of(len(data), pipeline.generation_defaults)
    sampling = sampling_options(plan)
    pipeline.check_scheduler(sampling["num_inference_steps"])
    check_guidance(sampling["guidance_scale"], sampling["guidance_interval"])
    plan = replace(plan, precision=usable_precision(plan.precision, pipeline.device))
    plan = _measurable(pipeline, data, plan, colour is None)
    _check_fits_in_memory(pipeline, data, plan)
    options = {name: value for name, value in asdict(plan).items() if colour or name not in COLOUR_ONLY}
    settings = dict(about or {}) | options
    settings |= {"data": data.source, "images": checksum([data.images]), "weights": pipeline.checksum()}
    if colour and (plan.count or plan.canvases or plan.duplicates):
        settings |= {"judge": f"{len(colour.train)} images of {colour.train.source}"}
    report = Report(settings, output / "evaluation.json" if output else None)
    if resume:
        report.resume()
    if output:
        check_writable(output / "evaluation.json")
    evaluation = _Evaluation(pipeline, data, plan, report, resume, progress, colour)
    try:
        if plan.limit and pipeline.resampler:
            evaluation.reconstruction(pipeline.resampler)
            if plan.consistency:
                evaluation.consistency(pipeline.resampler)
        with autocast(plan.precision, pipeline.device):
            if plan.count:
                evaluation.generation()
            if plan.canvases:
                evaluation.canvases()
            if plan.duplicates:
                evaluation.duplicates()
            if plan.denoising_error:
                evaluation.denoising_error(output)
    except KeyboardInterrupt:
        kept = f"; the finished rows are in {report.path}, go on with --resume" if report.path and report.rows else ""
        raise KeyboardInterrupt(f"stopped{kept}") from None
    return report


def _measurable(pipeline: R2Pipeline, data: ImageDataset, plan: Plan, digits: bool) -> Plan:
    """Return the plan without the parts that this model and data do not allow; print one sentence for each reason."""

    def check_reconstructs() -> None:
        if pipeline.resampler is None:
            raise InputError("this model works on pixels, and has no latents to encode to")

    def check_judged() -> None:
        conditions_of(pipeline, data)
        if digits:
            check_digits(pipeline, data)

    def check_judged_in_colour() -> None:
        if digits:
            raise InputError("there is no judge of colour pictures")
        conditions_of(pipeline, data)

    parts: dict[str, tuple[str, Callable[[], object]]] = {
        "limit": ("reconstruction", check_reconstructs),
        "count": ("generation", check_judged),
        "denoising_error": ("denoising error", lambda: conditions_of(pipeline, data)),
        "canvases": ("seams, joint samples and panoramas", check_judged_in_colour),
        "duplicates": ("duplicates", check_judged_in_colour),
    }
    without: dict[str, list[str]] = {}
    for option, (_, check) in parts.items():
        if getattr(plan, option):
            try:
                check()
            except InputError as error:
                without.setdefault(str(error), []).append(option)
    sentences = []
    for reason, options in without.items():
        names = " and ".join(parts[option][0] for option in options)
        sentences.append(f"{names} cannot be measured: {reason}")
    unmeasured = [option for options in without.values() for option in options]
    if not any(getattr(plan, option) for option in parts if option not in unmeasured):
        raise InputError("; ".join(sentences))
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    nothing: dict[str, Any] = dict.fromkeys(unmeasured, 0)
    return replace(plan, **nothing)


def _check_fits_in_memory(pipeline: R2Pipeline, data: ImageDataset, plan: Plan) -> None:
    """Raise InputError if batches of latents or pictures exceed the memory, before any work."""
    height, width = data.images.shape[-2:]
    channels = data.images.shape[1]
    # Features of a sample in a block, four times as many in the feed-forward.
    features = 4 * pipeline.diffuser.config.dim
    denoised = max(min(generation.BATCH, plan.count), min(denoising_error.BATCH, plan.denoising_error))
    if plan.limit and pipeline.resampler:
        images = min(reconstruction.BATCH, plan.limit)
        check_fits_in_memory([*plan.size, (4 * height, 4 * width)], images, channels)
        for latent_size in plan.latent_size:
            check_fits_in_memory([latent_size], images, pipeline.resampler.features)
    check_fits_in_memory(plan.size, min(generation.BATCH, plan.count), channels)
    for latent_size in plan.latent_size:
        check_fits_in_memory([latent_size], denoised, features)
    if plan.duplicates:
        largest = max(SCALES)
        grid = pipeline.defaults_on(data.image_size).latent_size
        together = min(duplicates.BATCH, plan.duplicates)
        check_fits_in_memory([(largest * data.image_size[0], largest * data.image_size[1])], together, channels)
        check_fits_in_memory([(largest * grid[0], largest * grid[1])], together, features)


@dataclass(frozen=True)
class _Evaluation:
    """The parts of an evaluation, each of which skips rows that the report has."""

    pipeline: R2Pipeline
    data: ImageDataset
    plan: Plan
    report: Report
    resume: bool
    progress: Progress
    colour: ColourJudging | None

    def missing(self, section: str) -> list[Size]:
        """Return the latent sizes without rows in a section."""
        there = {row["latents"] for row in self.report.rows.get(section, ())}
        return [size for size in self.plan.latent_size if size_text(size) not in there]

    def reconstruction(self, resampler: R2IR) -> None:
        """Measure reconstruction through each latent size, at every picture size."""
        data = self.data.some(self.plan.limit or 0)
        for latent_size in self.missing("reconstruction"):
            with self.progress(len(data), f"latents {size_text(latent_size)}") as on_batch:
                rows = measure_reconstruction(resampler, data, latent_size, self.plan.size, on_batch)
                self.report.add("reconstruction", list(rows))

    def consistency(self, resampler: R2IR) -> None:
        """Measure the agreement of sizes."""
        data = self.data.some(self.plan.limit or 0).some(self.plan.consistency or 0)
        for latent_size in self.missing("consistency"):
            with self.progress(len(data), f"latents {size_text(latent_size)}") as on_batch:
                row = measure_consistency(resampler, data, latent_size, on_batch)
                self.report.add("consistency", [row])

    def generation(self) -> None:
        """Measure real pictures, then generated ones of each latent size."""
        missing = self.missing("generation")
        if not missing:
            return
        judge = self.judge
        seen_at = {size: self.seen_size(size) for size in self.plan.size}
        references: dict[Size, Reference] = {}
        for seen in dict.fromkeys(seen_at.values()):
            data = self.colour.real_at(seen) if self.colour else self.data
            data = data.some(self.plan.real or 0)
            with self.progress(len(data), f"real ones at {size_text(seen)}") as on_batch:
                references[seen] = Reference.of(judge, data, seen, on_batch)
            row = references[seen].row(self.plan.count)
            if not self.report.has("generation", row):
                self.report.add("generation", [row])
        by_size = {size: references[seen] for size, seen in seen_at.items()}
        for latent_size in missing:
            unfinished = self.unfinished(latent_size)
            done = unfinished.done if unfinished else 0
            with self.progress(self.plan.count, f"latents {size_text(latent_size)}", done) as on_batch:
                rows = measure_generation(
                    self.pipeline,
                    judge,
                    by_size,
                    latent_size,
                    count=self.plan.count,
                    seed=self.plan.seed,
                    sampling=sampling_options(self.plan),
                    on_batch=on_batch,
                    unfinished=unfinished,
                )
                self.report.add("generation", list(rows))
            if unfinished:
                unfinished.remove()
        if isinstance(judge, ColourJudge) and self.report.path:
            path = self.report.path.with_name("neighbours.png")
            how: dict[str, Any] = {"seed": self.plan.seed, "sampling": sampling_options(self.plan)}
            write_neighbours(self.pipeline, judge, self.data, self.plan.latent_size[0], path, **how)

    def canvases(self) -> None:
        """Measure the seams of outpainting, joint samples of three proportions, and panoramas."""
        count = self.plan.canvases or 0
        how: dict[str, Any] = {"count": count, "seed": self.plan.seed}
        how |= {"sampling": sampling_options(self.plan)}
        if "outpainting" not in self.report.rows:
            with self.progress(min(count, len(self.data)), "outpainting") as on_batch:
                row = measure_outpainting(self.pipeline, self.data, **how, on_batch=on_batch)
                self.report.add("outpainting", [row])
        if "joint" not in self.report.rows:
            judge = self.judge
            with self.progress(count, "three proportions") as on_batch:
                rows = measure_joint(self.pipeline, judge, self.data, **how, on_batch=on_batch)
                self.report.add("joint", rows)
        if "panoramas" not in self.report.rows:
            judge = self.judge
            with self.progress(count, "panoramas") as on_batch:
                rows = measure_panoramas(self.pipeline, judge, self.data, **how, on_batch=on_batch)
                self.report.add("panoramas", rows)

    def duplicates(self) -> None:
        """Count subjects in real pictures, in tiled ones, and in generated ones of several sizes."""
        count = self.plan.duplicates or 0
        done, size = len(self.report.rows.get("duplicates", ())), self.data.image_size
        # The first rows are of real pictures, which are added together.
        missing = SCALES if not done else SCALES[done - 1 - len(LAYOUTS) :]
        judge = self.judge if missing else None
        if not isinstance(judge, ColourJudge):
            return
        train, features = judge.source.train, judge.source.features
        with self.progress(min(LEARNT + HELD_OUT, len(train)), "parts of pictures") as on_batch:
            counter = SubjectCounter.of(features, judge.device, train, on_batch)
        if not done:
            data = self.data.some(count)
            with self.progress(len(data), "tiled pictures") as on_batch:
                self.report.add("duplicates", measure_counter(counter, data, on_batch))
        sampling = sampling_options(self.plan)
        for scale in missing:
            with self.progress(count, f"{scale} times as large") as on_batch:
                how = (size, scale, count, self.plan.seed, sampling, on_batch)
                self.report.add("duplicates", [measure_duplicates(self.pipeline, counter, judge.subjects, *how)])

    @cached_property
    def judge(self) -> Judge:
        """The judge of generated pictures."""
        if self.colour is None:
            return load_judge(self.pipeline.device)
        print(NOT_THE_FID, file=sys.stderr)
        with self.progress(len(self.colour.train), "training pictures") as on_batch:
            return self.colour.judge(self.pipeline, self.data, on_batch)

    def seen_size(self, size: Size) -> Size:
        """Return the size of the real pictures to compare with those of `size`.

        The judge of digits sees few pixels, and the judge of colours real pictures of any size.
        """
        return size if self.colour else seen_size(self.data.image_size, size)

    def unfinished(self, latent_size: Size) -> Unfinished | None:
        """Return the unfinished pictures of a latent size, kept beside the report; None without a report file."""
        if self.report.path is None:
            return None
        path = self.report.path.with_name(f"{size_text(latent_size)}.unfinished.safetensors")
        settings = {name: value for name, value in self.report.settings.items() if name not in CALLED}
        return Unfinished(path, self.plan.size, settings, resume=self.resume)

    def denoising_error(self, folder: Path | None) -> None:
        """Measure the denoising error at each latent size, and write it to `folder` as denoising-error.csv and .png."""
        data, missing = self.data.some(self.plan.denoising_error), self.missing("denoising_error")
        for latent_size in missing:
            with self.progress(len(data), f"latents {size_text(latent_size)}") as on_batch:
                rows = list(measure_denoising_error(self.pipeline, data, latent_size, self.plan.seed, on_batch))
            self.report.add("denoising_error", rows, shown=side_by_side(rows))
            if folder:
                write_denoising_error(self.report.rows["denoising_error"], folder)
        # An interruption may have come after the last rows and before these files.
        if folder and not missing:
            write_denoising_error(self.report.rows["denoising_error"], folder)
