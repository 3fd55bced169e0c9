"""The README's queries, run as they stand there on a recorded study."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from headhunt.spaces.configs import HeadConfig, Mode
from headhunt.spaces.heads import AdapterHead, GrnHead, LinearHead
from headhunt.spaces.record import State

from .analysis.recorded import TRANSFORMER, Recorded, control, record

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
HOUR = 3600.0


def blocks():
    readme = README.read_text(encoding="utf-8")
    assert "<!-- cookbook -->" in readme, (
        "README.md needs the markers <!-- cookbook --> and its end"
    )
    return BLOCK.findall(readme.split("<!-- cookbook -->")[1].split("<!-- /cookbook -->")[0])


def head(head, backbone="one", **changes):
    return HeadConfig(backbone=f"lab/{backbone}", head=head, **changes)


FULL = head(LinearHead(), mode=Mode.FULL)
HEART = [
    control(0.7),
    Recorded(config=head(AdapterHead(bottleneck=16)), f1=(0.6, 0.72), epoch_seconds=HOUR),
    Recorded(config=head(AdapterHead(bottleneck=64)), f1=(0.7, 0.81), epoch_seconds=2 * HOUR),
    Recorded(config=head(AdapterHead(bottleneck=64)), f1=(0.5, 0.75), epoch_seconds=2 * HOUR),
    Recorded(config=head(GrnHead(), "two"), f1=(0.8, 0.88), epoch_seconds=9 * HOUR),
    Recorded(config=head(LinearHead(), "two"), f1=(0.6,), epoch_seconds=0.1 * HOUR),
    Recorded(config=TRANSFORMER, f1=(0.6, 0.7, 0.79), epoch_seconds=0.05 * HOUR),
    Recorded(config=head(LinearHead()), f1=(0.3,), state=State.PRUNED, epoch_seconds=HOUR),
    Recorded(config=head(GrnHead()), f1=(0.3, 0.4, 0.4), state=State.PRUNED, epoch_seconds=HOUR),
    Recorded(config=FULL, state=State.INFEASIBLE, peak_mib=3000),
    Recorded(config=FULL, state=State.INFEASIBLE, peak_mib=4000),
    Recorded(config=FULL, f1=(0.9, float("nan")), state=State.FAILED, reason="diverged"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The names that the blocks leave behind, run one after the other."""
    store = tmp_path_factory.mktemp("cookbook")
    record(store, HEART, study="heart")
    record(store, [Recorded(config=head(GrnHead(), "two"), f1=(0.84,))], study="heart-2")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HEADHUNT_STORE", str(store))
        for block in blocks():
            exec(compile(block, "README.md", "exec"), names)
    return names


def test_there_are_ten_queries_after_the_one_that_loads_the_frames():
    assert len(blocks()) == 11


def test_the_best_head_of_each_backbone(results):
    found = results["best_heads"].set_index("backbone")

    assert found["model"].to_dict() == {"lab/one": "adapter", "lab/two": "grn"}
    assert found["trial"].to_dict() == {"lab/one": 2, "lab/two": 4}


def test_f1_against_the_bottlenecks_width(results):
    found = results["by_width"].loc["adapter"]

    assert found["max"].to_dict() == {16: 0.72, 64: 0.81}
    assert found.loc[64, "median"] == pytest.approx(0.78)


def test_what_the_infeasible_trials_have_in_common(results):
    refused = results["refused"]

    assert refused.to_dict() == {("frozen", 8): 0.0, ("full", 8): pytest.approx(2 / 3)}


def test_hours_by_state(results):
    hours = results["hours_by_state"]

    assert hours.loc["pruned", "card_hours_marginal"] == pytest.approx(4)
    assert hours.loc["failed", "card_hours_marginal"] == pytest.approx(2)
    assert hours.loc["infeasible", "card_hours_marginal"] == 0


def test_the_learning_curves_of_the_best_five(results):
    learning = results["learning"]

    assert list(learning.columns) == [1, 2, 3, 4, 6]
    assert learning[6].tolist() == [0.6, 0.7, 0.79]
    assert pd.isna(learning.loc[3, 4])


def test_where_the_rungs_cut(results):
    assert results["cut"].loc["one frozen"].to_dict() == {1: 1, 3: 1}


def test_the_best_within_some_hours(results):
    assert results["affordable"]["trial"].tolist() == [6, 5]


def test_what_the_hours_bought_so_far(results):
    bought = results["bought"]

    assert bought["best"].dropna().is_monotonic_increasing
    assert bought["spent"].iloc[-1] == pytest.approx(results["frame"]["card_hours_marginal"].sum())
    assert bought["best"].iloc[-1] == 0.88


def test_how_much_two_searches_with_other_seeds_differ(results):
    spread = results["spread"]

    assert spread.loc["grn", "count"] == 2
    assert spread.loc["grn", "mean"] == pytest.approx(0.86)


def test_which_trials_nothing_beats(results):
    assert results["front"]["trial"].tolist() == [5, 6, 2, 4]


def test_how_far_the_modelled_memory_is_from_the_measured(results):
    assert results["memory"]["max"] == pytest.approx(300 / 500)
    assert results["memory"]["count"] == 6
