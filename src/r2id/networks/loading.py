"""Loading of networks and pipelines with clear errors, and diffusers' switches that do not apply here."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from r2id.errors import InputError
from r2id.files.atomic import fill_folder
from r2id.files.models import PRETRAINED, model_folder
from r2id.runtime.devices import usable_device

logger = logging.getLogger(__name__)


def _impossible(name: str) -> Any:
    def switch(self: Any, *args: Any, **kwargs: Any) -> None:
        raise InputError(
            f"{name} is not possible with {type(self).__name__}, whose layers are read in parts; "
            "R2Pipeline.enable_model_cpu_offload() moves one network at a time"
        )

    switch.__name__ = name
    switch.__doc__ = "Raise InputError: layers are read in parts here, which diffusers' hooks do not see."
    return switch


class NetworkSwitches:
    """Switches of a network. A base class before diffusers' ModelMixin."""

    _supports_gradient_checkpointing = False
    # These weights are read without a call, which would cast them back.
    _skip_layerwise_casting_patterns = ["position", "time"]

    enable_group_offload = _impossible("enable_group_offload")


class PipelineSwitches:
    """Switches of a pipeline. A base class before diffusers' DiffusionPipeline."""

    enable_sequential_cpu_offload = _impossible("enable_sequential_cpu_offload")
    enable_group_offload = _impossible("enable_group_offload")


class Publishing:
    """Uploading with a model card. A base class before diffusers' PushToHubMixin."""

    save_pretrained: Any

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        subfolder: str | None = None,
        card: Any = None,
    ) -> Any:
        """Upload to the Hugging Face hub, as diffusers does, with a model card.

        Args:
            repo_id: "name" or "organisation/name"; created if it does not exist.
            commit_message, private, token, create_pr, safe_serialization, variant, subfolder: as in diffusers.
            card: the card to upload, from `r2id.publishing.card.model_card` or your own. The default is generated,
                unless the repository has a card of its own. A `subfolder` gets no card.
        Returns:
            The result of `huggingface_hub.upload_folder`.
        """
        # Networks are no part of what publishes them, so only this loads it.
        from r2id.files.hub import upload

        return upload(
            self,
            repo_id,
            card,
            subfolder=subfolder,
            saving={"safe_serialization": safe_serialization, "variant": variant},
            uploading={"commit_message": commit_message, "token": token, "create_pr": create_pr},
            private=private,
        )


class CheckedLoading(Publishing, NetworkSwitches):
    """Strict loading with clear errors. A base class before diffusers' ModelMixin."""

    config: Any

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, **kwargs: Any) -> Any:
        """Load from a folder or a Hugging Face hub id, to `device` if it is given. Other arguments are diffusers'.

        Raises InputError if files are missing, the config and the weights do not match, or the weights are not
        safetensors.
        """
        assert pretrained_model_name_or_path is not None
        marker = Path(kwargs.get("subfolder") or "") / "config.json"
        wants_report = kwargs.pop("output_loading_info", False)
        model, report = load_pretrained(
            super().from_pretrained,  # type: ignore[misc]
            pretrained_model_name_or_path,
            marker,
            output_loading_info=True,
            **kwargs,
        )
        problems = {name: report[f"{name}_keys"] for name in ("missing", "unexpected") if report[f"{name}_keys"]}
        if problems:
            which = " and ".join(f"{len(keys)} {name}, such as {sorted(keys)[0]}" for name, keys in problems.items())
            raise InputError(
                f"the weights in {pretrained_model_name_or_path} do not belong to its config.json: {which}"
            )
        return (model, report) if wants_report else model

    # A pipeline passes on arguments by this signature.
    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save to a folder, each file whole or not at all. Other arguments are those of diffusers and `push_to_hub`."""
        kwargs |= {"safe_serialization": safe_serialization, "variant": variant}
        uploading = for_upload(save_directory, kwargs)
        save = super().save_pretrained  # type: ignore[misc]
        fill_folder(Path(save_directory), lambda folder: save(folder, max_shard_size=max_shard_size, **kwargs))
        if push_to_hub:
            self.push_to_hub(**uploading)


def load_part(kind: Any, name: str, part: str) -> Any:
    """Load a network from its own folder or hub id, or as a part of a bundled pipeline or one in a folder.

    Raises InputError if it is neither.
    """
    is_alone = (Path(name) / "config.json").is_file()
    is_pipeline = (model_folder(name, "model_index.json") / "model_index.json").is_file() and not is_alone
    return kind.from_pretrained(name, subfolder=part if is_pipeline else None)


ARGUMENTS = (
    "device_map",
    "dtype",
    "torch_dtype",
    "max_memory",
    "offload_folder",
    "offload_state_dict",
    "quantization_config",
)
"""Arguments whose values diffusers' `from_pretrained` may refuse, which is not a fault of the files."""


def load_pretrained(
    load: Callable[..., Any],
    name: str | os.PathLike,
    marker: str | Path,
    device: str | torch.device | None = None,
    **kwargs: Any,
) -> Any:
    """Call a `from_pretrained` on bundled weights, a folder or a hub id. Its failures become InputError.

    Args:
        load: the `from_pretrained`.
        name: a folder that holds `marker`, the name of bundled weights, or a hub id. A folder comes first.
        marker: the file that identifies a folder for `load`.
        device: device to move the result to.
    """
    if device is not None:
        if kwargs.get("device_map") is not None:
            raise InputError(
                f"device {str(device)!r} and device_map {kwargs['device_map']!r} are both given; give one of them"
            )
        device = usable_device(device)
    bundled = sorted(path.parent.name for path in PRETRAINED.glob("*/model_index.json"))
    folder = model_folder(name, marker)
    if folder != Path(name) and Path(name).is_dir():
        logger.warning(f"the folder {name} holds no model, so the bundled weights {name} are taken")
    if folder.exists() and not (folder / marker).is_file():
        raise InputError(f"{name} holds no {marker}; give a folder written by save_pretrained")
    if folder.exists():
        check_variant(folder / marker, kwargs.get("variant"), name)
    elif str(name).count("/") != 1:
        # The hub is not asked for a mistyped name, which would take half a minute without a network.
        known = ", ".join(bundled)
        raise InputError(f"{name} is not a folder and not bundled ({known}); a model of the hub is OWNER/NAME")
    asked = [argument for argument, value in kwargs.items() if value is not None and argument in ARGUMENTS]
    # Loading a pickle may run any code.
    kwargs["use_safetensors"] = True
    # Loading piece by piece into an empty model would need accelerate, and these models are small.
    kwargs.setdefault("low_cpu_mem_usage", kwargs.get("device_map") is not None)
    if not folder.exists():
        from r2id.files.hub import answers

        if not answers(str(name)):
            kwargs["local_files_only"] = True
    try:
        loaded = load(folder if folder.exists() else str(name), **kwargs)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
        if "size mismatch" in reason:
            which = reason[reason.index("size mismatch for ") :].removeprefix("size mismatch for ")
            raise InputError(f"the weights in {name} do not belong to its config.json: {which[:150]}") from error
        reason = reason if len(reason) <= 200 else reason[:200] + "…"
        if asked and isinstance(error, (NotImplementedError, TypeError, ValueError)):
            given = " and ".join(f"{argument} {str(kwargs[argument])!r}" for argument in asked)
            raise InputError(f"{name} cannot be loaded with {given}: {reason}") from error
        if folder.exists():
            raise InputError(f"the model in {name} cannot be loaded; its files may be damaged: {reason}") from error
        raise InputError(
            f"{name} is not a folder, not bundled ({', '.join(bundled)}), "
            f"and no model of the hub within reach: {reason}"
        ) from error
    # diffusers keeps the whole path, and a model saved again would carry it.
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    model.register_to_config(_name_or_path=folder.name if folder.exists() else str(name))
    if device is not None:
        model.to(device)
    return loaded


def check_variant(marker: Path, variant: str | None, name: str | os.PathLike) -> None:
    """Raise InputError if there are weights but none of this variant.

    Args:
        marker: model_index.json of a pipeline, or config.json of a network.
        variant: such as "fp16"; None for weights without one.
        name: name of the model for the error.
    """
    weights = marker.parent.glob("*/*.safetensors" if marker.name == "model_index.json" else "*.safetensors")
    # NAME.safetensors, NAME.fp16.safetensors, or one of many: NAME.fp16-00001-of-00002.safetensors.
    found = {".".join(re.sub(r"-\d+-of-\d+", "", path.name).split(".")[1:-1]) for path in weights}
    if found and (variant or "") not in found:
        missing = f"of variant {variant!r}" if variant else "without a variant"
        there = ", ".join(repr(one) if one else "those without a variant" for one in sorted(found))
        raise InputError(f"{name} has no weights {missing}; there are {there}")


def for_upload(folder: str | os.PathLike, arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the arguments of `push_to_hub` from those of a `save_pretrained`, and return them."""
    names = ("repo_id", "commit_message", "private", "token", "create_pr")
    taken = {name: arguments.pop(name) for name in names if name in arguments}
    shared = {name: arguments[name] for name in ("safe_serialization", "variant") if name in arguments}
    return {"repo_id": Path(folder).resolve().name} | taken | shared
