"""What a footprint costs a trial: random configs of each space, on an encoder like BERT-base.

A shape that was met is looked up; a new one is traced. `python -m benchmarks.lookups` prints both.
"""

import time

import optuna
import torch

from headhunt.search.estimate import Counted, Estimator
from headhunt.spaces.catalogue import SPACES, SpaceOptions
from headhunt.spaces.configs import BaselineConfig
from headhunt.trainables.card.cards import CARDS

BACKBONE, TRIALS = "camembert-bio", 100
AIM_MS = 50


def main() -> None:
    """A line a space."""
    torch.set_num_threads(1)
    for name in ("heads", "scratch", "finetune", "all"):
        print(measure(name), flush=True)


def measure(name: str) -> str:
    """Draw and trace; the first trace of a process loads much, so one is made before."""
    space = SPACES[name](SpaceOptions((BACKBONE,), 8, 12))
    estimator = Estimator(CARDS["p620"], Counted(), BACKBONE, max_tokens=256)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    configs = [space.suggest(study.ask()) for _ in range(TRIALS)]
    networks = [config for config in configs if not isinstance(config, BaselineConfig)]
    find = estimator.study_footprinter()
    find(networks[0])
    begin = time.process_time()
    for config in networks:
        find(config)
    each = 1e3 * (time.process_time() - begin) / len(networks)
    return (
        f"{name}: {each:.0f} ms a trial in the mean over {len(networks)} random configs, "
        f"{find.traced} shapes traced (at most {AIM_MS} ms)"
    )


if __name__ == "__main__":
    main()
