"""An exported model, loaded: what gives logits for texts.

Sizes are compared with those of the config before anything is built in memory. No file of the
folder is imported or executed: the networks are headhunt's own, the folder has their numbers.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ...spaces.configs import BaselineConfig, Mode, ScratchConfig
from ...spaces.record import UNREADABLE
from ..models.backbone_checks import BackboneError
from ..models.backbones import empty_encoder, identity, load_config, load_encoder, locate
from ..models.classifier import HeadModel
from ..models.finetuned import TunedModel, load_trained_state, trained_state
from ..models.scratch import ScratchModel
from ..notes.features import fastest_precision
from ..uncompiled import on_meta
from .description import (
    BACKBONE,
    CALIBRATION,
    MIB,
    MOST_JSON,
    TOKENIZER,
    VOCABULARY,
    WEIGHTS,
    ArtifactError,
    BackboneReference,
    Description,
    is_whole_encoder,
    read_description,
    read_json,
)
from .networks import OnEncoder, TextNetwork
from .terms import TermModel, Terms, term_model
from .tokenizing import beyond, read_tokenizer


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An exported model that is ready to predict."""

    description: Description
    model: TextNetwork | TermModel  # `logits(texts)`: [notes, classes]
    temperature: float  # by which logits are divided

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the columns."""
        return self.description.labels


def load_artifact(
    folder: Path,
    *,
    backbone: str | None = None,
    device: torch.device | None = None,
    description: Description | None = None,
) -> LoadedModel:
    """Load the model in the folder.

    Args:
        folder: that `headhunt export` wrote.
        backbone: name or directory of its encoder here, where it is not the one that it names.
        device: where to compute; a GPU if there is one.
        description: of the folder, where it was read just now.

    Raises:
        ArtifactError: the folder is damaged, forged, or of another version.
        BackboneError: the encoder is not here, or is another one.
    """
    description = description or read_description(folder)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = _model(folder, description, backbone, device)
    except (ArtifactError, BackboneError, OSError):
        raise
    except (*UNREADABLE, SafetensorError, RuntimeError) as error:
        raise ArtifactError(
            f"{folder} is damaged or forged: its files do not fit one another "
            f"({type(error).__name__}); export the model anew"
        ) from None
    return LoadedModel(description, model, _temperature(folder))


def _model(
    folder: Path, description: Description, backbone: str | None, device: torch.device
) -> TextNetwork | TermModel:
    config = description.config
    if isinstance(config, BaselineConfig):
        return _terms(folder, description, config)
    if isinstance(config, ScratchConfig):
        network, rows = _scratch(folder, description, config)
        return _texts(folder, description, network, rows, device)
    encoder, rows = _encoder(folder, description, backbone)
    with suppress(ValueError):  # fused, as nothing trains here; not every architecture has it
        encoder.set_attn_implementation("sdpa")
    if config.mode is Mode.FROZEN:
        head = _with_weights(
            folder,
            lambda: HeadModel(encoder.config.hidden_size, len(description.labels), config),
        )
        best = fastest_precision(device)
        precision = description.precision if best == description.precision else "fp32"
        return _texts(folder, description, OnEncoder(encoder, head, precision), rows, device)
    tuned = TunedModel(encoder, len(description.labels), config)
    load_trained_state(tuned, _weights(folder, trained_state(tuned)))
    return _texts(folder, description, tuned, rows, device)


def _texts(
    folder: Path, description: Description, network: nn.Module, rows: int, device: torch.device
) -> TextNetwork:
    tokenizer = read_tokenizer(folder / TOKENIZER, description.max_tokens, rows)
    network = network.eval().to(device)
    unread = beyond(tokenizer, rows)
    return TextNetwork(network, tokenizer, device, description.max_tokens, unread)


def _terms(folder: Path, description: Description, config: BaselineConfig) -> TermModel:
    terms = Terms.from_json(read_json(folder, VOCABULARY, MOST_JSON))
    stored = load_file(folder / WEIGHTS)
    layers = 1 if config.model == "tfidf_lr" else 2
    wanted = {f"{place}.{kind}" for place in range(layers) for kind in ("weight", "bias")}
    if stored.keys() != wanted or any(t.dtype is not torch.float64 for t in stored.values()):
        raise ArtifactError(f"{folder / WEIGHTS} does not hold the matrices of a {config.model}")
    arrays = {name: tensor.numpy() for name, tensor in stored.items()}
    return term_model(terms, config.ngrams, arrays, classes=len(description.labels))


def _scratch(
    folder: Path, description: Description, config: ScratchConfig
) -> tuple[nn.Module, int]:
    rows = _shapes(folder).get("tokens.weight", (0,))[0]
    if not 0 < rows <= config.vocabulary:
        raise ArtifactError(f"{folder / WEIGHTS} has embeddings of {rows:,} sub-words")
    classes, limit = len(description.labels), description.max_tokens
    return _with_weights(folder, lambda: ScratchModel(config, rows, classes, limit)), rows


def _with_weights(folder: Path, build: Callable[[], nn.Module]) -> nn.Module:
    """The network with the folder's numbers, which takes memory for them alone."""
    with on_meta():
        network = build()
    network.load_state_dict(_weights(folder, network.state_dict()), assign=True)
    return network


def _weights(folder: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The folder's tensors, which have the names, shapes and types of those wanted.

    Raises:
        ArtifactError: they are not those of the model that its description speaks of.
    """
    fits = _shapes(folder) == {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    stored = load_file(folder / WEIGHTS) if fits else {}
    if not fits or any(stored[name].dtype != tensor.dtype for name, tensor in wanted.items()):
        raise ArtifactError(
            f"{folder / WEIGHTS} does not hold the weights of the model that its description "
            "speaks of: export the model anew"
        )
    return stored


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(folder / WEIGHTS, framework="pt") as stored:
        return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118


def _encoder(folder: Path, description: Description, given: str | None) -> tuple[Any, int]:
    """The encoder under the head, and the rows of its embeddings."""
    reference = description.backbone
    if reference is None:
        raise ArtifactError(f"{folder} names no backbone for its head")
    if is_whole_encoder(description.config):
        config = load_config(str(folder / BACKBONE))
        return empty_encoder(config), int(config.vocab_size)
    if reference.copied and given is None:  # its checksums were compared
        encoder, _ = load_encoder(str(folder / BACKBONE), folder)
        return encoder, int(encoder.config.vocab_size)
    name = given or name_here(reference)
    if identity(locate(name)) != reference.identity:
        raise BackboneError(
            f"the backbone {name!r} has other files than the one that the model was trained on, "
            f"{reference.name} ({reference.identity}): give that one by --backbone, or export with "
            "--copy-backbone"
        )
    encoder, _ = load_encoder(name, folder)
    return encoder, int(encoder.config.vocab_size)


def name_here(reference: BackboneReference) -> str:
    """By what the encoder is found on a machine that was told nothing.

    Raises:
        BackboneError: it was a directory of another machine's.
    """
    if reference.hub_id:
        return (
            f"{reference.hub_id}@{reference.revision}" if reference.revision else reference.hub_id
        )
    if reference.package:
        return reference.name
    raise BackboneError(
        f"the model stands on the backbone {reference.name}, a directory that is not in the folder:"
        f" give the directory by --backbone (the hash of its files is {reference.identity}), or "
        "export with --copy-backbone"
    )


def _temperature(folder: Path) -> float:
    stored = read_json(folder, CALIBRATION, MIB)
    value = stored.get("temperature") if isinstance(stored, dict) else None
    if not isinstance(value, int | float) or not isfinite(value) or not 1e-3 <= value <= 1e3:
        raise ArtifactError(
            f"{folder / CALIBRATION} is damaged: its temperature is no number between 0.001 and "
            "1,000; export the model anew, or write one there"
        )
    return float(value)
