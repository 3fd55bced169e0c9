"""The weights of one trial's best epoch: as the search kept them, or trained again from its seed.

Same seed, same trial: what is trained again must have the losses that the study recorded, epoch by
epoch, or it is refused. What a weight is worth is then looked at once more on validation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..spaces.configs import BaselineConfig, Config, HeadConfig, Mode, ScratchConfig
from ..spaces.record import EpochReport
from ..trainables.assignment import Materials
from ..trainables.models.baselines import FittedBaseline
from ..trainables.models.finetuned import load_trained_state
from ..trainables.notes.backbone_tokens import encode_backbone_tokens
from ..trainables.notes.corpus import Corpus, Part
from ..trainables.notes.features import token_lengths
from ..trainables.runner import Network, fitted_baseline, network_of
from ..trainables.training.loop import DivergedError, predict, train
from ..trainables.training.metrics import score
from ..trainables.training.states import Kind, StateStore
from .encoding import Work, encode_backbones
from .settings import Settings
from .side_by_side import about
from .study import Trial
from .telling import telling_by_type

# What another kind of device or number of threads may change. Between the same it is 0.
LOSS_TOLERANCE = 0.01  # nats a note
ACCURACY_TOLERANCE, NOTES_TOLERANCE = 0.01, 2.0  # whichever is more


class OtherNumbersError(ValueError):
    """A model does not have the scores that the study recorded of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Who wants to know how far it is."""

    on_encoding: Callable[[str, int, int], None] = lambda *_: None  # backbone, tokens done, in all
    on_retraining: Callable[[int], None] = lambda _: None  # epochs that will be trained
    on_epoch: Callable[[EpochReport], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Weighed:
    """A trial's model, and what it says of the validation notes."""

    probabilities: np.ndarray  # [validation notes, classes] float64, in the order of the corpus
    retrained: bool
    weights: Mapping[str, Tensor] | None = None  # of a network: what training has moved
    baseline: FittedBaseline | None = None


def materials_for(
    config: Config,
    corpus: Corpus,
    settings: Settings,
    *,
    cache: Path,
    states: StateStore,
    precision: str,
    hooks: Hooks,
) -> Materials:
    """What this config trains on; the notes are encoded where they are not yet.

    Raises:
        BackboneError: a backbone's files are missing or torn.
        ShortOfMemoryError: others left too little memory for the encoding.
        EncodingError: the encoding failed otherwise.
        OSError: the cache cannot be written.
    """
    features, tokens = {}, {}
    if isinstance(config, HeadConfig):
        name = config.backbone
        with telling_by_type(about(name)):
            if config.mode is Mode.FROZEN:
                work = Work(corpus, cache, settings.max_tokens, precision, None)
                lengths = {name: token_lengths(corpus, name, settings.max_tokens)}
                made = encode_backbones(
                    work, lengths, on_progress=hooks.on_encoding, on_end=lambda *_: None
                )
                features = {name: cast("tuple[Path, bool]", made[name])[0].resolve()}
            else:
                folder = encode_backbone_tokens(corpus, name, cache, max_tokens=settings.max_tokens)
                tokens = {name: folder.resolve()}
    return Materials(
        settings=replace(settings.training, keep_weights=False),
        states=states,
        cache=cache.resolve(),
        features=features,
        tokens=tokens,
    )


def weigh(
    trial: Trial, corpus: Corpus, materials: Materials, device: torch.device, hooks: Hooks
) -> Weighed:
    """The model of the trial's best epoch.

    Raises:
        OtherNumbersError: it does not have the scores that the study recorded.
        BackboneError: a backbone's files are not those of the study.
    """
    best = trial.best
    if best is None:
        raise ValueError(f"trial {trial.number} has no epoch")
    if isinstance(trial.config, BaselineConfig):
        fitted = fitted_baseline(trial.config, trial.seed, corpus, materials.settings)
        texts = [corpus.texts[place] for place in corpus.indices(Part.VALIDATION)]
        weighed = Weighed(fitted.predict_proba(texts), retrained=True, baseline=fitted)
    else:
        weighed = _network(trial, trial.config, corpus, materials, device, hooks)
    labels = _labels(corpus)
    scores = score(weighed.probabilities, labels)
    _compare(trial, best, scores.loss, scores.accuracy, len(labels))
    return weighed


def _network(
    trial: Trial,
    config: HeadConfig | ScratchConfig,
    corpus: Corpus,
    materials: Materials,
    device: torch.device,
    hooks: Hooks,
) -> Weighed:
    network = network_of(config, corpus, materials)
    weights = _kept(trial, network, materials.states)
    retrained = weights is None
    if weights is None:
        weights = _trained_again(trial, config, network, corpus, materials, device, hooks)
    model = network.build().to(device)
    load_trained_state(model, dict(weights))
    probabilities = predict(model, network.task(corpus), materials.settings.batch_limit, device)
    return Weighed(probabilities, retrained, weights=weights)


def _kept(trial: Trial, network: Network, states: StateStore) -> Mapping[str, Tensor] | None:
    """The weights of the best epoch, where the search has kept them."""
    for saved in states.find(trial.number, Kind.BEST):
        of = saved.metadata.get("config_hash"), saved.metadata.get("backbone", "")
        if of == (trial.config_hash, network.backbone) and trial.best:
            return saved.tensors if saved.epoch == trial.best.epoch else None
    return None


def _trained_again(
    trial: Trial,
    config: HeadConfig | ScratchConfig,
    network: Network,
    corpus: Corpus,
    materials: Materials,
    device: torch.device,
    hooks: Hooks,
) -> Mapping[str, Tensor]:
    """The weights after the best epoch, each epoch compared with the study's."""
    last = trial.best.epoch if trial.best else 0
    hooks.on_retraining(last)
    epochs = train(
        network.build,
        network.task(corpus),
        config.optimisation,
        materials.settings,
        seed=trial.seed,
        device=device,
    )
    notes = len(_labels(corpus))
    weights: Mapping[str, Tensor] = {}
    try:
        for stored, epoch in zip(trial.reports[:last], epochs, strict=False):
            found = epoch.report
            _compare(trial, stored, found.validation_loss, found.accuracy, notes)
            hooks.on_epoch(epoch.report)
            if stored.epoch == last:
                weights = {name: tensor.clone() for name, tensor in epoch.weights().items()}
                break
    except DivergedError as error:
        raise OtherNumbersError(f"trial {trial.number}, trained again, {error}") from None
    return weights


def _labels(corpus: Corpus) -> np.ndarray:
    return corpus.labels[corpus.indices(Part.VALIDATION)]


def _compare(trial: Trial, stored: EpochReport, loss: float, accuracy: float, notes: int) -> None:
    """Refuse a model that is another than the study's, by its scores on so many notes."""
    allowed = max(ACCURACY_TOLERANCE, NOTES_TOLERANCE / notes)
    if (
        abs(loss - stored.validation_loss) <= LOSS_TOLERANCE * max(1.0, stored.validation_loss)
        and abs(accuracy - stored.accuracy) <= allowed
    ):
        return
    raise OtherNumbersError(
        f"trial {trial.number} has other numbers here than in the study: after epoch {stored.epoch}"
        f" a validation loss of {loss:.4f} and accuracy of {accuracy:.4f}, where the study has "
        f"{stored.validation_loss:.4f} and {stored.accuracy:.4f}. Export it on the kind of device "
        "and with the versions that it was trained with (`headhunt status` names them)"
    )
