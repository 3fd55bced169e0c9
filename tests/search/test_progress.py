import io

import pytest
from rich.console import Console

from headhunt.search.progress import ProgressView, models_so_far
from headhunt.search.study import Study
from headhunt.spaces.record import Outcome, State

from .toys import MANIFEST, begin, epoch_report, footprint, scratch


@pytest.mark.parametrize("terminal", [True, False])
def test_all_encodings_that_run_are_shown(terminal, monkeypatch):
    view, shown = ProgressView(), io.StringIO()
    view.console = Console(file=shown, force_terminal=terminal, width=100)
    monkeypatch.setattr("headhunt.search.progress.REDRAW_SECONDS", 0.0)

    with view:
        for done in (0, 50, 100):
            for name in ("hub/first", "hub/second"):
                view.show.on_encoding(name, done, 100)

    for label in ("first", "second"):
        assert f"encoding with {label}" in shown.getvalue()
        assert shown.getvalue().count(f"encoding with {label}") >= 3


def test_the_live_view_shows_the_models_with_their_best_f1_and_hours(tmp_path):
    study = Study.create(tmp_path, "lab", MANIFEST)
    for number, f1 in enumerate((0.7, 0.8)):
        begin(study, scratch(1e-3 + number * 1e-4), footprint=footprint(epoch_seconds=7200))
        study.report(number, epoch_report(1, f1))
        study.end(number, Outcome(state=State.COMPLETE if number else State.PRUNED))
    console = Console(record=True, width=100, file=io.StringIO())

    console.print(models_so_far(study.tally))

    study.close()
    assert console.export_text().splitlines()[1].split() == [
        *("transformer", "0.8000", "0.4", "4", "1", "1", "0", "0")
    ]
