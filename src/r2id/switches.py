"""diffusers' switches that save memory elsewhere: what is of no use here says so, and what cannot work is refused."""

from __future__ import annotations

from typing import Any

from diffusers.utils import logging

from r2id.errors import InputError

logger = logging.get_logger(__name__)


def _needless(name: str) -> Any:
    def switch(self: Any, *args: Any, **kwargs: Any) -> None:
        logger.warning(
            f"{name} changes nothing: the attention of {type(self).__name__} is linear in the samples, "
            "with no matrix of all pairs to slice or to speed up"
        )

    switch.__name__ = name
    switch.__doc__ = "Changes nothing, and says so: attention is linear here."
    return switch


def _impossible(name: str) -> Any:
    def switch(self: Any, *args: Any, **kwargs: Any) -> None:
        raise InputError(
            f"{name} is not possible with {type(self).__name__}, whose layers are read in parts; "
            "R2Pipeline.enable_model_cpu_offload() moves one network at a time"
        )

    switch.__name__ = name
    switch.__doc__ = "Raises InputError: layers are read in parts here, which diffusers' hooks do not see."
    return switch


class NetworkSwitches:
    """Goes before diffusers' ModelMixin."""

    _supports_gradient_checkpointing = False
    # Read as weights, without a call that would turn them back.
    _skip_layerwise_casting_patterns = ["position", "time"]

    enable_xformers_memory_efficient_attention = _needless("enable_xformers_memory_efficient_attention")
    enable_npu_flash_attention = _needless("enable_npu_flash_attention")
    enable_xla_flash_attention = _needless("enable_xla_flash_attention")
    set_attention_backend = _needless("set_attention_backend")
    enable_group_offload = _impossible("enable_group_offload")


class PipelineSwitches:
    """Goes before diffusers' DiffusionPipeline."""

    enable_attention_slicing = _needless("enable_attention_slicing")
    enable_xformers_memory_efficient_attention = _needless("enable_xformers_memory_efficient_attention")
    enable_sequential_cpu_offload = _impossible("enable_sequential_cpu_offload")
    enable_group_offload = _impossible("enable_group_offload")
