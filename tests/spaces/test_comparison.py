from collections import Counter
from dataclasses import replace

import optuna
import pytest
from optuna.trial import FixedTrial

from headhunt.spaces.catalogue import SCRATCH_MODELS, SPACES, SpaceOptions
from headhunt.spaces.comparison import ENCODERS, MOST_NOTES
from headhunt.spaces.configs import BaselineConfig, HeadConfig, Mode, Optimiser
from headhunt.spaces.heads import HEADS, LinearHead
from headhunt.trainables.models.backbones import KNOWN

OPTIONS = SpaceOptions(backbones=("a", "b", "c"), batch_limit=MOST_NOTES)
MODELS = {
    *((kind, mode) for kind in HEADS for mode in (Mode.FROZEN, Mode.LAST_K, Mode.FULL)),
    ("linear", Mode.LORA),
}


def space_of(**changes):
    return SPACES["study"](replace(OPTIONS, **changes))


def drawn(space, draws):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(draws)]


def referred(space):
    return [space.suggest(FixedTrial(dict(reference))) for reference in space.references]


def test_its_encoders_are_those_that_have_a_short_name():
    assert {known.id for known in KNOWN.values()} == set(ENCODERS)


@pytest.mark.parametrize("limit", range(1, MOST_NOTES + 1))
def test_no_step_has_more_notes_than_the_limit_in_however_many_batches(limit):
    space = space_of(batch_limit=limit)

    configs = [*drawn(space, 150), *referred(space)]
    steps = [c.optimisation for c in configs if not isinstance(c, BaselineConfig)]

    notes = {step.batch_size * step.accumulation for step in steps}
    assert min(notes) >= 1
    assert max(notes) == limit
    assert {step.accumulation for step in steps} > {1} or limit == 1


def test_what_is_drawn_is_every_structure_by_mode_on_every_encoder_and_nothing_else():
    configs = drawn(space_of(), 600)
    heads = [c for c in configs if isinstance(c, HeadConfig)]

    assert {(c.model, c.mode) for c in heads} == MODELS
    assert {c.backbone for c in heads} == set(OPTIONS.backbones)
    assert {c.model for c in configs} - {*HEADS} == {*SCRATCH_MODELS}


def test_the_lora_arm_is_the_linear_head_and_its_rank_is_searched():
    lora = [c for c in drawn(space_of(), 300) if isinstance(c, HeadConfig) and c.lora_rank]

    assert {(c.head, c.mode) for c in lora} == {(LinearHead(), Mode.LORA)}
    assert len({c.lora_rank for c in lora}) > 5


def test_what_the_study_leaves_unknown_varies():
    tuned = [c for c in drawn(space_of(), 300) if isinstance(c, HeadConfig) and c.last_k]

    assert {c.optimisation.optimiser for c in tuned} == set(Optimiser)
    assert {c.last_k for c in tuned} == {1, 2, 4}
    assert {c.checkpointing for c in tuned} == {False, True}
    for unknown in ("learning_rate", "weight_decay", "warmup_share"):
        assert len({getattr(c.optimisation, unknown) for c in tuned}) == len(tuned)
    assert len({c.pooling for c in tuned}) == 4


def test_each_model_is_referred_to_once_and_the_frozen_reading_comes_first():
    space = space_of()
    configs = referred(space)

    heads = [c for c in configs if isinstance(c, HeadConfig)]
    models = Counter((c.backbone, c.model, c.mode) for c in heads)
    assert models == Counter((b, *model) for b in OPTIONS.backbones for model in MODELS)
    assert [c.model for c in configs if not isinstance(c, HeadConfig)] == [*SCRATCH_MODELS]
    early = len(SCRATCH_MODELS) + len(OPTIONS.backbones) * (len(HEADS) + 1)
    assert {c.mode for c in configs[:early] if isinstance(c, HeadConfig)} == {
        Mode.FROZEN,
        Mode.LORA,
    }


def test_every_family_is_named_at_least_three_times_and_the_baselines_twice():
    space = space_of()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for asked in space.asked:
        study.enqueue_trial(dict(asked))
    configs = [
        *space.controls,
        *referred(space),
        *(space.suggest(study.ask()) for _ in space.asked),
    ]

    families = Counter(c.family for c in configs)

    assert len(configs) == space.first_trials
    assert families.pop(BaselineConfig().family) == 2
    assert len(families) == len(OPTIONS.backbones) * len(Mode) + len(SCRATCH_MODELS)
    assert min(families.values()) == 3


def test_its_usual_budget_leaves_half_of_it_to_the_sampler():
    space = space_of()

    assert space.usual_trials == 2 * space.first_trials == 2 * (2 + 50 + 10)
