import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt.analysis import compare, trials
from headhunt.search.study import Study
from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import LinearHead
from headhunt.spaces.record import STARTED, Outcome, State

from .toys import MANIFEST, begin, epoch_report, footprint, scratch

# What happens next, to which of the trials so far, and with what number.
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin a head", "report", "end", "reopen"]),
        st.integers(0, 9),
        st.floats(0.1, 1000),
    ),
    max_size=40,
)
ENDS = (State.COMPLETE, State.PRUNED, State.INFEASIBLE, State.FAILED)


def summed(study: Study):
    """By going through all trials, as each figure is defined."""
    encodings: dict[str, float] = {}
    marginal = 0.0
    for trial in study.trials:
        if trial.footprint and trial.reports:
            marginal += trial.footprint.card_hours_marginal(len(trial.reports))
            backbone = getattr(trial.config, "backbone", "")
            hours = trial.footprint.encoding_seconds / 3600
            encodings[backbone] = max(hours, encodings.get(backbone, 0.0))
    return {
        "started": sum(t.state in STARTED for t in study.trials),
        "running": sum(t.state is State.RUNNING for t in study.trials),
        "card hours": pytest.approx(marginal + sum(encodings.values()), abs=1e-9),
        "GPU hours": pytest.approx(sum(t.gpu_hours for t in study.trials), abs=1e-9),
    }


def counted(study):
    return {
        "started": study.tally.started,
        "running": study.tally.states[State.RUNNING],
        "card hours": study.card_hours(),
        "GPU hours": study.tally.gpu_hours,
    }


def models(study):
    """By model: its best trial, hours in all, and trials by state."""
    return {
        names: (
            tally.best.number if tally.best else None,
            None if tally.card_hours is None else pytest.approx(tally.card_hours),
            [tally.states[state] for state in State],
        )
        for names, tally in study.tally.models.items()
    }


def compared(store):
    """The same by the study's table."""
    table = compare(trials("lab", store=store)).table
    return {
        tuple("" if pd.isna(row[name]) else row[name] for name in ("model", "backbone", "mode")): (
            None if pd.isna(row["trial"]) else row["trial"],
            None if pd.isna(row["total_card_hours"]) else row["total_card_hours"],
            [row[state] for state in State],
        )
        for row in table.to_dict("records")
    }


def move(study, what, which, number):
    """Do it where it can be done; the study, which may have been opened anew."""
    if what.startswith("begin"):
        config = scratch(1e-3 + len(study.trials) * 1e-6)
        if what == "begin a head":
            config = HeadConfig(backbone=f"b{which % 2}", head=LinearHead(), dropout=number / 2000)
        need = footprint(epoch_seconds=number, encoding_seconds=which * 100.0)
        begin(study, config, footprint=need if which else None)
    elif what == "reopen":
        study.close()
        return Study.open(study.folder.parent, "lab")
    elif which < len(study.trials):
        trial = study.trials[which]
        if what == "report" and trial.state is State.RUNNING:
            study.report(which, epoch_report(len(trial.reports) + 1, number / 1000, number))
        if what == "end" and trial.state is State.RUNNING:
            outcome = Outcome(state=ENDS[int(number) % 4], device_fraction=number / 1000)
            study.end(which, outcome)
    return study


@settings(max_examples=30)
@given(MOVES)
def test_what_is_counted_is_what_a_sum_over_all_trials_gives(moves):
    with tempfile.TemporaryDirectory() as folder:
        study = Study.create(Path(folder), "lab", MANIFEST)
        for what, which, number in moves:
            study = move(study, what, which, number)
            assert counted(study) == summed(study)
        study.close()
        assert models(study) == compared(Path(folder))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_best_of_a_model_is_the_one_of_the_studys_table_whichever_ends_first(tmp_path, order):
    study = Study.create(tmp_path, "lab", MANIFEST)
    for number, (f1, seconds) in enumerate([(0.6, 10), (0.8, 90), (0.8, 30), (0.8, 30)]):
        begin(study, scratch(1e-3 + number * 1e-4), footprint=footprint(epoch_seconds=seconds))
        study.report(number, epoch_report(1, f1))
    for number in order:
        study.end(number, Outcome(state=State.COMPLETE))
    study.close()

    (found,) = models(study).values()

    assert found[0] == 2
    assert models(study) == compared(tmp_path)
