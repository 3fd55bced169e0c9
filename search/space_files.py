"""Find the space that was asked for: one of the catalogue, or a function in a user's file."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from ..spaces.catalogue import NEEDS_BACKBONE, SPACES, Space, SpaceOptions
from ..spaces.configs import Config
from ..trainables.models.backbones import BackboneError, known_config
from ..trainables.models.empty import build_empty
from .sampling import SpaceError
from .settings import Settings
from .space_checks import check_space
from .telling import of_a_space

_SHOWN_CHARACTERS = 80  # of a function's arguments
FROZEN = {"heads", "scratch", "baselines", "all"}  # spaces in which no layer trains


def load_space(settings: Settings) -> Space:
    """The space of this name, or of FILE.py:FUNCTION.

    A function takes an Optuna trial, or a trial and `SpaceOptions`, and returns a config.

    Raises:
        SpaceError: no such space, file or function, or one that trials would fail in.
    """
    space = _find_space(settings)
    check_space(space, settings.backbones, lambda config: build_empty(config, settings.max_tokens))
    return space


def _find_space(settings: Settings) -> Space:
    options = SpaceOptions(settings.backbones, settings.batch_limit)
    if settings.space not in FROZEN:
        options = replace(options, layers=_layers(settings.backbones))
    if settings.space in SPACES:
        if settings.space in NEEDS_BACKBONE and not settings.backbones:
            raise SpaceError(
                f"the space {settings.space!r} needs at least one --backbone: a name "
                "(camembert-bio, drbert, alibert, minilm), a Hugging Face id or a directory; "
                "--space scratch needs none"
            )
        return SPACES[settings.space](options)
    file, colon, function = settings.space.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise SpaceError(
            f"a space is one of {sorted(SPACES)} or FILE.py:FUNCTION; got {settings.space!r}"
        )
    path = Path(file)
    if not path.is_file():
        raise SpaceError(f"there is no file {file!r} for the space")
    spec = importlib.util.spec_from_file_location("headhunt_user_space", path)
    if spec is None or spec.loader is None:
        raise SpaceError(f"the file {file!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the module that they stand in
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SpaceError(f"the file {file!r} failed: {of_a_space(error)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise SpaceError(f"the file {file!r} has no function {function!r}")
    suggest = cast("Callable[..., Config]", found)
    if _takes_options(suggest, settings.space):
        return Space(settings.space, lambda trial: suggest(trial, options))
    return Space(settings.space, suggest)


def _takes_options(suggest: Callable[..., Config], space: str) -> bool:
    """Whether the function takes `SpaceOptions` beside the trial."""
    try:
        names = [f"argument {place}" for place in range(2)]
        signature = inspect.signature(suggest)
    except ValueError:
        raise SpaceError(
            f"the space {space!r} is no function of Python's: write one that takes an Optuna trial"
        ) from None
    for count in (2, 1):
        with suppress(TypeError):
            signature.bind(*names[:count])
            return count == 2
    raise SpaceError(
        f"the space {space!r} must take an Optuna trial, or a trial and SpaceOptions; "
        f"it takes {str(signature)[:_SHOWN_CHARACTERS]}"
    )


def _layers(backbones: Sequence[str]) -> int:
    """Layers of the shallowest backbone; one that cannot be read is a problem told elsewhere."""
    depths = [SpaceOptions().layers]
    for name in backbones:
        with suppress(BackboneError):
            depths.append(getattr(known_config(name), "num_hidden_layers", depths[0]))
    return min(depths)
