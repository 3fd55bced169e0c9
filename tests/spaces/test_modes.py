import pytest

from headhunt.spaces.configs import (
    BaselineConfig,
    HeadConfig,
    Mode,
    Optimisation,
    Optimiser,
    ScratchConfig,
    config_from_dict,
    config_hash,
    config_to_dict,
)
from headhunt.spaces.heads import AdapterHead, LinearHead

TUNED = HeadConfig(
    backbone="some/encoder",
    mode=Mode.LORA,
    head=LinearHead(),
    lora_rank=8,
    lora_alpha=16,
    checkpointing=True,
    optimisation=Optimisation(optimiser=Optimiser.ADAFACTOR, accumulation=4, batch_size=2),
)


@pytest.mark.parametrize(
    ("config", "known"),
    [
        (HeadConfig(backbone="some/encoder", head=AdapterHead()), "6493f78e6eea8325"),
        (ScratchConfig(), "97debd42c21953a0"),
        (BaselineConfig(), "3a6ddf740e65bd98"),
    ],
)
def test_a_config_from_before_the_modes_keeps_its_hash(config, known):
    assert config_hash(config) == known


def test_a_stored_config_without_the_later_fields_is_read_with_their_defaults():
    stored = config_to_dict(HeadConfig(backbone="some/encoder", head=LinearHead()))

    assert not {"last_k", "lora_rank", "lora_alpha", "checkpointing"} & stored.keys()
    assert not {"optimiser", "accumulation"} & stored["optimisation"].keys()
    read = config_from_dict(stored)
    assert isinstance(read, HeadConfig)
    assert read.optimisation.optimiser is Optimiser.ADAMW
    assert read.optimisation.accumulation == 1


def test_a_config_that_says_more_comes_back_as_it_was():
    assert config_from_dict(config_to_dict(TUNED)) == TUNED


@pytest.mark.parametrize(
    ("mode", "given"),
    [
        (Mode.LAST_K, {}),
        (Mode.LORA, {"lora_rank": 8}),
        (Mode.FULL, {"last_k": 2}),
        (Mode.FROZEN, {"lora_rank": 8, "lora_alpha": 16}),
        (Mode.FROZEN, {"checkpointing": True}),
    ],
)
def test_settings_that_a_mode_does_not_read_or_lacks_are_refused(mode, given):
    with pytest.raises(ValueError, match=r"last_k > 0 must hold in mode last_k alone"):
        HeadConfig(backbone="some/encoder", head=LinearHead(), mode=mode, **given)


def test_a_step_needs_a_micro_batch():
    with pytest.raises(ValueError, match=r"accumulation >= 1; got .*self.accumulation=0"):
        Optimisation(accumulation=0)
