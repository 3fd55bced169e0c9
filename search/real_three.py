"""What the study's own three encoders would need and cost on a card, config by config.

The configs are those that the space `study` tries first, at the study's bounds. Nothing is read of
the encoders but what is known of their shapes, so this needs neither their files nor a network.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from optuna.trial import FixedTrial

from ..spaces.catalogue import SpaceOptions, study_space
from ..spaces.comparison import ENCODERS, MOST_NOTES, MOST_TOKENS
from ..spaces.configs import HeadConfig, ScratchConfig
from ..spaces.record import Footprint
from ..trainables.card.cards import Card
from ..trainables.models.backbones import known_config
from .estimate import Counted, Estimator


@dataclass(frozen=True, slots=True)
class RealRow:
    """A config of the study on the card."""

    config: HeadConfig | ScratchConfig
    footprint: Footprint
    largest_batch: int  # of at most the study's notes that fits; 0: none

    @property
    def fits(self) -> bool:
        """At the study's batch."""
        return self.footprint.excess_bytes <= 0


def real_configs() -> Iterator[HeadConfig | ScratchConfig]:
    """By encoder and mode, then the scratch models."""
    space = study_space(SpaceOptions(ENCODERS, MOST_NOTES))
    configs = [space.suggest(FixedTrial(dict(reference))) for reference in space.references]
    for encoder in ENCODERS:
        yield from (c for c in configs if isinstance(c, HeadConfig) and c.backbone == encoder)
    yield from (c for c in configs if isinstance(c, ScratchConfig))


def real_rows(card: Card, notes: Counted) -> list[RealRow]:
    """Every config's footprint for notes of which the longest has the study's tokens."""
    of_shape: dict[Any, Estimator] = {}  # two of the three have one shape
    for name in ENCODERS:
        of_shape.setdefault(
            known_config(name),
            Estimator(card, notes, name, max_tokens=MOST_TOKENS, batch_limit=MOST_NOTES),
        )

    @cache
    def found(config: HeadConfig | ScratchConfig, shape: Any) -> tuple[Footprint, int]:
        estimator = of_shape[shape]
        footprint = estimator.footprint(config)
        if footprint.excess_bytes <= 0:
            return footprint, MOST_NOTES
        return footprint, estimator.largest_batch(config, footprint, MOST_NOTES)

    rows = []
    for config in real_configs():
        if isinstance(config, HeadConfig):
            shape = known_config(config.backbone)
            rows.append(
                RealRow(config, *found(replace(config, backbone=of_shape[shape].backbone), shape))
            )
        else:
            rows.append(RealRow(config, *found(config, next(iter(of_shape)))))
    return rows
