import io

import pytest
from rich.console import Console

from headhunt.search.progress import ProgressView


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
