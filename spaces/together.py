"""Which configs may be trained together, in one batched pass over the same features.

Heads whose numbers have the same shapes, on the same stored states and in batches of the same size,
differ in nothing that a batched pass needs to be one. Whether it pays is not decided here.
"""

from collections.abc import Hashable
from dataclasses import fields, replace

from .configs import Config, HeadConfig, Mode, Optimisation
from .heads import HeadSettings


def shared_shape(config: Config) -> Hashable | None:
    """What configs must have in common to be trained together; None: it is trained alone.

    Only heads on a frozen backbone can be. Learning rates, weight decays, warm-ups, dropouts and
    class weights may differ.
    """
    if not isinstance(config, HeadConfig) or config.mode is not Mode.FROZEN:
        return None
    chosen = config.optimisation
    common = Optimisation(
        batch_size=chosen.batch_size,
        accumulation=chosen.accumulation,
        optimiser=chosen.optimiser,
    )
    return replace(config, head=_without_dropout(config.head), dropout=0.0, optimisation=common)


def _without_dropout(head: HeadSettings) -> HeadSettings:
    if any(entry.name == "structure_dropout" for entry in fields(head)):
        return replace(head, structure_dropout=0.0)
    return head
