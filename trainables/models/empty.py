"""A config's network without memory: whether its numbers fit one another, before any work."""

from ...spaces.configs import Config, HeadConfig, ScratchConfig
from ..uncompiled import on_meta
from .classifier import HeadModel
from .scratch import ScratchModel

WIDTH, CLASSES = 64, 2  # any will do: what may not fit is in the config


def build_empty(config: Config, max_tokens: int) -> None:
    """Build the config's network on the meta device and throw it away; a baseline has none.

    Raises:
        ValueError: its numbers do not fit one another.
    """
    with on_meta():
        if isinstance(config, HeadConfig):
            HeadModel(WIDTH, CLASSES, config)
        elif isinstance(config, ScratchConfig):
            ScratchModel(config, config.vocabulary, CLASSES, max_tokens)
