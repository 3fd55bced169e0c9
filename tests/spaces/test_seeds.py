import json
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headhunt.spaces.seeds import derive_seed

PARTS = st.lists(st.integers(-(2**70), 2**70) | st.text(), max_size=5)


@given(PARTS)
def test_a_seed_is_one_that_torch_and_numpy_take_and_json_keeps(parts):
    seed = derive_seed(*parts)

    assert 0 <= seed < 2**63
    assert json.loads(json.dumps(seed)) == seed


@given(PARTS, PARTS)
@example(one=[1, 2], other=[12])
@example(one=[1], other=["1"])
@example(one=["a,b"], other=["a", "b"])
@example(one=['a","b'], other=["a", "b"])
def test_seeds_are_equal_for_equal_parts_alone(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


@pytest.mark.parametrize(
    ("parts", "seed"), [((), 2858069222894195974), ((7, "epoch", 3), 4968466906179661711)]
)
def test_a_seed_is_the_same_on_every_machine_for_ever(parts, seed):
    assert derive_seed(*parts) == seed


def test_a_seed_does_not_depend_on_the_processs_own_hashing():
    code = "from headhunt.spaces.seeds import derive_seed; print(derive_seed('epoch', 3))"

    seeds = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert seeds == {f"{derive_seed('epoch', 3)}\n".encode()}


def test_neighbouring_streams_share_no_pattern():
    seeds = [derive_seed(0, "epoch", epoch) for epoch in range(2000)]

    assert len(set(seeds)) == 2000
    assert sum(seed.bit_count() for seed in seeds) / 2000 == pytest.approx(31.5, abs=0.5)
