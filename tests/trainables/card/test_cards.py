import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt.trainables.card.cards import (
    CARDS,
    MIB,
    CardError,
    card_toml,
    gpu_fraction,
    load_card,
)

P620 = CARDS["p620"]
SOUND = """
name = "A card"
memory_bytes = 4_294_967_296
reserve_bytes = 300_000_000
flops = 2e12
bandwidth = 1e11
watts = 75
source = "its data sheet"
"""


def write(folder, text):
    path = folder / "card.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# --- which card ------------------------------------------------------------------------------


def test_the_default_card_is_the_p620_of_the_data_sheet():
    card = load_card("p620")

    assert card is not None
    assert (card.name, card.memory_bytes, card.watts) == ("Quadro P620", 2048 * MIB, 40.0)
    assert card.flops == pytest.approx(512 * 2 * 1.354e9, rel=0.001)  # cores, FMA, clock
    assert card.limit_bytes == (2048 - 300) * MIB


def test_none_is_no_card():
    assert load_card("none") is None


def test_a_card_file_is_read_as_it_stands(tmp_path):
    card = load_card(write(tmp_path, SOUND))

    assert card is not None
    assert (card.name, card.memory_bytes, card.flops) == ("A card", 2**32, 2e12)
    assert json.loads(json.dumps(card.to_dict()))["source"] == "its data sheet"


def test_bytes_may_be_written_as_a_power_of_ten_and_are_whole(tmp_path):
    card = load_card(write(tmp_path, line("memory_bytes", "2e9")))

    assert card is not None
    assert (card.memory_bytes, card.limit_bytes) == (2_000_000_000, 1_700_000_000)
    assert isinstance(card.memory_bytes, int)


def test_an_unknown_name_is_told_the_known_ones_and_the_ways_out():
    with pytest.raises(CardError, match=r"one of \[.*'p620'.*\], a \.toml file, 'auto' .* 'none'"):
        load_card("p630")


@pytest.mark.parametrize("name", CARDS)
def test_every_card_of_the_table_is_sound_and_says_where_its_numbers_are_from(name):
    card = load_card(name)

    assert card is not None
    assert 0 < card.reserve_bytes < card.memory_bytes
    assert all(
        word in card.source for word in ("memory", "FLOP/s", "bandwidth", "watts", "reserve: ")
    )
    assert 1 < card.flops / card.bandwidth < 100  # FLOPs a byte: none is off by a thousand
    assert hash(card) == hash(load_card(name))


def test_a_card_survives_the_way_through_a_file(tmp_path):
    card = replace(P620, name='A "quoted" \\ name', element_rates={"gelu": 2.5e9})

    assert load_card(write(tmp_path, card_toml(card))) == card


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("flops_share = 1.5", "flops_share"),
        ("bandwidth_share = 0", "bandwidth_share"),
        ("launch_seconds = -1e-6", "launch_seconds"),
        ("element_rates = {gelu = 0}", "element_rates"),
        ("element_rates = 3", "element_rates"),
    ],
)
def test_what_was_calibrated_must_be_possible(tmp_path, text, wrong):
    with pytest.raises(CardError, match=rf"found wrong: \['{wrong}'\]"):
        load_card(write(tmp_path, SOUND + text))


def line(name, value):
    """The sound file with this field set, or left out."""
    kept = [text for text in SOUND.splitlines() if not text.startswith(f"{name} =")]
    return "\n".join([*kept, *([f"{name} = {value}"] if value is not None else [])])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "cannot be read"),
        (line("watts", None), r"lacks \['watts'\]; it needs name \(text\), memory_bytes \(bytes"),
        ("", r"lacks \['name', 'memory_bytes', .*; it needs .*, flops \(FLOP/s, like 1.386e12\), "),
        (line("flops", "1.386"), r"must give flops in FLOP/s, like 1.386e12: found too small"),
        (line("bandwidth", "80"), r"must give bandwidth in bytes/s, like 80.1e9: found too small"),
        (line("price", "100"), r"unknown fields \['price'\]"),
        (line("flops", "0"), r"must be positive numbers.* found wrong: \['flops'\]"),
        (line("flops", "-1.0"), r"found wrong: \['flops'\]"),
        (line("flops", "nan"), r"found wrong: \['flops'\]"),
        (line("bandwidth", "inf"), r"found wrong: \['bandwidth'\]"),
        (line("watts", "true"), r"found wrong: \['watts'\]"),
        (line("name", "5"), r"name and source are text, in quotes; found wrong: \['name'\]"),
        (line("name", '""'), r"are text, in quotes; found wrong: \['name'\]"),
        (line("source", "[1]"), r"are text, in quotes; found wrong: \['source'\]"),
        (line("memory_bytes", "2.5"), r"bytes whole ones.* found wrong: \['memory_bytes'\]"),
        (line("reserve_bytes", "nan"), r"found wrong: \['reserve_bytes'\]"),
        (line("memory_bytes", '"2 GB"'), r"found wrong: \['memory_bytes'\]"),
        (line("reserve_bytes", "4_294_967_296"), r"found wrong: \['reserve_bytes'\]"),
    ],
)
def test_a_card_file_that_is_wrong_says_what_and_what_it_needs(tmp_path, text, message):
    with pytest.raises(CardError, match=message):
        load_card(write(tmp_path, text))


def test_a_name_is_taken_in_any_case_and_a_near_miss_gets_a_hint():
    assert load_card("P620") == P620

    with pytest.raises(CardError, match=r"got 'p260', did you mean 'p620'\?"):
        load_card("p260")


def test_a_card_file_that_does_not_exist_or_is_no_text_cannot_be_read(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")

    for name in ("nowhere.toml", "binary.toml"):
        with pytest.raises(CardError, match=f"{name}' cannot be read"):
            load_card(str(tmp_path / name))


# --- the share of a device -------------------------------------------------------------------


@pytest.mark.parametrize("trials", range(1, 101))
def test_as_many_trials_share_a_device_as_fit_in_rays_steps_and_not_one_more(trials):
    share = gpu_fraction(P620, trials * P620.limit_bytes)

    steps = round(share * 10_000)
    assert share == steps / 10_000  # Ray rounds to 1e-4
    assert trials * steps <= 10_000 < (trials + 1) * steps


@given(mib=st.integers(1, 10_000_000), context_mib=st.integers(0, 1000))
def test_a_trial_never_shares_a_device_that_could_not_hold_all(mib, context_mib):
    share = gpu_fraction(P620, mib * MIB, context_mib * MIB)

    together = math.floor(10_000 / round(share * 10_000))
    assert 1 <= together <= 100
    assert together == 1 or together * (1748 + context_mib) <= mib


def test_each_trial_brings_its_own_context():
    assert gpu_fraction(P620, 8 * 1024 * MIB) == 0.25
    assert gpu_fraction(P620, 8 * 1024 * MIB, context_bytes=500 * MIB) == 0.3333


def test_a_device_smaller_than_the_card_is_held_by_one_trial():
    assert gpu_fraction(P620, 1024 * MIB) == 1.0
