"""A page as a reader's program sees it: headings, tables, figures; and studies to make one of."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd

from headhunt.analysis.columns import (
    FRACTION_COLUMNS,
    MODEL_COLUMNS,
    PAIR_COLUMNS,
    SCORING_COLUMNS,
    described,
)
from headhunt.analysis.confirmation import Confirmation
from headhunt.spaces.configs import HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead, GrnHead, LinearHead
from headhunt.spaces.record import State

from .recorded import Recorded, control

HOSTILE = "<img src=x onerror=alert(1)>"
ENDING = "</script><script>alert(2)</script>"
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """What of a page the tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def drawings(html: str) -> dict[str, dict]:
    """The drawings in a page by the place where each is drawn."""
    found = {}
    for part in html.split('<script type="application/json" data-drawing="')[1:]:
        name, _, rest = part.partition('">')
        found[name] = json.loads(rest.partition("</script>")[0])
    return found


def read(file: Path) -> tuple[str, Page]:
    html = file.read_text(encoding="utf-8")
    return html, Page(html)


def searched(backbone: str = "minilm") -> list[Recorded]:
    """A study with each kind of end, three families and a front."""
    rates = [10.0 ** (-1 - n / 8) for n in range(24)]
    heads = (AdapterHead(bottleneck=16), LinearHead(), GrnHead())
    return [
        control(0.71),
        *(
            Recorded(
                f1=(0.5 + n / 100, 0.55 + n / 100, 0.6 + n / 100),
                config=HeadConfig(
                    backbone=backbone,
                    head=heads[n % 3],
                    optimisation=Optimisation(learning_rate=rate),
                ),
                epoch_seconds=600.0 + 60 * n,
            )
            for n, rate in enumerate(rates)
        ),
        Recorded(f1=(0.4,), state=State.PRUNED, config=ScratchConfig(width=32)),
        Recorded(f1=(0.69, 0.72), config=ScratchConfig(width=64), epoch_seconds=300.0),
        Recorded(state=State.INFEASIBLE, peak_mib=2000, reason="needs 2000 MiB"),
        Recorded(f1=(0.3,), state=State.FAILED, reason="diverged"),
        Recorded(f1=(0.5,), state=State.RUNNING),
    ]


def _frame(columns, rows) -> pd.DataFrame:
    names = [column.name for column in columns]
    frame = pd.DataFrame(rows, columns=names)
    frame.attrs["columns"] = described(names, columns)
    return frame


def confirmed(model: str = "adapter") -> Confirmation:
    """Two models, one of which is better than the baseline, and one that is not told apart."""
    rows = [
        {
            **{"trial": trial, "model": name, "family": "minilm frozen", "seeds": 3, "failed": 0},
            **{"training_notes": 700, "validation_f1": f1 + 0.03, "test_f1": f1},
            **{"test_f1_low": f1 - 0.02, "test_f1_high": f1 + 0.02, "gap": 0.03},
            **{"difference": f1 - 0.7, "p_value_corrected": p, "verdict": verdict},
        }
        for trial, name, f1, p, verdict in (
            (24, model, 0.8, 0.01, "better"),
            (23, "linear", 0.71, 0.4, "undecided"),
        )
    ]
    fractions = [
        {**row, "train_fraction": share, "training_notes": int(700 * share)}
        for row in rows
        for share in (0.25, 1.0)
    ]
    pair = {"trial_a": 24, "model_a": model, "trial_b": 23, "model_b": "linear", "verdict": "a"}
    scorings = [
        {"confirming_trial": n, "trial": 24, "model": model, "test_f1": 0.8} for n in (0, 1)
    ]
    return Confirmation(
        models=_frame(MODEL_COLUMNS, rows),
        pairs=_frame(PAIR_COLUMNS, [pair]),
        fractions=_frame(FRACTION_COLUMNS, fractions),
        sentences=(f"{model} is better than the best baseline.",),
        scorings=_frame(SCORING_COLUMNS, scorings),
    )
