"""A config's network without memory: whether its numbers fit one another, before any work."""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...spaces.configs import Config, HeadConfig, ScratchConfig
from .classifier import HeadModel
from .scratch import ScratchModel

WIDTH, CLASSES = 64, 2  # any will do: what may not fit is in the config


def build_empty(config: Config, max_tokens: int) -> None:
    """Build the config's network on the meta device and throw it away; a baseline has none.

    Raises:
        ValueError: its numbers do not fit one another.
    """
    with torch.device("meta"), _Unfilled():
        if isinstance(config, HeadConfig):
            HeadModel(WIDTH, CLASSES, config)
        elif isinstance(config, ScratchConfig):
            ScratchModel(config, config.vocabulary, CLASSES, max_tokens)


class _Unfilled(TorchFunctionMode):
    """Nothing is drawn for tensors that hold nothing: PyTorch would import its compiler for that.

    Two seconds of every start.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is nn.init.normal_:
            return given["tensor"]
        return func(*args, **given)
