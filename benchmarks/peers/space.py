"""The space: an adapter of width 64 on a frozen encoder, its learning rate varied."""

from optuna.trial import BaseTrial

from headhunt.spaces.catalogue import SpaceOptions
from headhunt.spaces.configs import HeadConfig, Optimisation
from headhunt.spaces.heads import AdapterHead

RATES = (3e-4, 3e-3)
WEIGHT_DECAY, BATCH = 0.01, 8


def adapter(trial: BaseTrial, options: SpaceOptions) -> HeadConfig:
    """The peers build the same model by hand."""
    return HeadConfig(
        backbone=options.backbones[0],
        head=AdapterHead(bottleneck=64),
        dropout=0.0,
        optimisation=Optimisation(
            learning_rate=trial.suggest_float("learning_rate", *RATES, log=True),
            weight_decay=WEIGHT_DECAY,
            warmup_share=0.0,
            batch_size=BATCH,
        ),
    )
