"""The chapters of a report: one a study, and before them the studies side by side.

Here it is settled what is told, and in which order; the frames say it, and `figures` draws it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from ..spaces.record import State
from ..stores import Place, Store, StoredStudy, StudyNotFoundError, reading, store_at
from .compare import compare
from .confirmation import Confirmation, confirmation
from .ends import ends, energy, reasons
from .figures import Figure
from .figures.confirmed import confirmed_models, f1_by_training_notes, model_label
from .figures.ends import energy_by_family, trials_by_end
from .figures.hours import best_against_spent, f1_against_hours
from .figures.learning import learning_curves
from .figures.parameters import importances, parallel_coordinates
from .figures.style import Mark, marks
from .formulas import HOURS_COLUMN, Hours, card_of, difference_notes
from .frame import frames_in, trials
from .importance import importance_of
from .pages import Chapter, Section, Table, table
from .points import drawn_curves, learning, parallel, parameter_names, points, spending
from .ranking import Ranking, rank
from .shareable import CURVES, TRIALS
from .summary import asked, summary
from .tables import hours_sentence
from .wording import counted

Marks = Mapping[str, Mark]

TOP = 10  # rows of a table that may have hundreds
MOST_ROWS = 2000  # of a folded table of trials: the page must stay small
RANKED = (
    *("rank", "trial", "model", "backbone", "mode", "f1_per_gpu_hour", "f1", "accuracy"),
    *("card_hours", "gpu_hours", "peak_mib", "trainable_parameters", "pareto"),
)
CONTROLS = ("trial", "model", "f1", "accuracy", "precision", "recall", "cpu_seconds")
FAMILIES = (
    *("model", "backbone", "mode", "f1", "accuracy", "precision", "recall"),
    *("trainable_parameters", "card_hours", "times_cheapest", "total_card_hours"),
    *("trials", *(state.value for state in State)),
)
POINTS = (
    *("study", "trial", "family", "model", "state", "f1", "f1_low", "f1_high"),
    *("card_hours", "gpu_hours", "pareto"),
)
MODELS = (
    *("model", "trial", "seeds", "training_notes", "validation_f1", "test_f1", "test_f1_low"),
    *("test_f1_high", "gap", "difference", "difference_low", "difference_high"),
    *("p_value_corrected", "verdict"),
)
PAIRS = (
    *("model_a", "trial_a", "model_b", "trial_b", "difference", "difference_low"),
    *("difference_high", "p_value_corrected", "verdict"),
)
FRACTIONS = (
    *("model", "trial", "train_fraction", "training_notes", "training_patients", "seeds"),
    *("test_f1", "test_f1_low", "test_f1_high"),
)
SCORINGS = ("scored_at", "model", "trial", "seed_number", "train_fraction", "test_notes", "test_f1")


def chapters(names: Sequence[str], *, store: Place | None = None) -> Iterator[Chapter]:
    """The chapters of these studies; for several, first one that sets them side by side."""
    place = store_at(store)
    if len(names) > 1:
        frame = trials(names, store=place)
        with reading(*(place.place_of(name) for name in names)):
            yield side_by_side(frame)
    for number, name in enumerate(names, start=1):
        stored = place.read(name)
        frames = frames_in(stored)
        with reading(stored.place):
            yield study_chapter(
                frames[TRIALS],
                frames[CURVES],
                stored,
                slug=f"study-{number}",
                confirmed=_confirmation(name, place),
            )


def _confirmation(name: str, place: Store) -> Confirmation | None:
    """What was confirmed of a study; None where nothing was."""
    try:
        return confirmation(name, store=place)
    except StudyNotFoundError:
        return None


def side_by_side(frame: pd.DataFrame) -> Chapter:
    """Several studies in one figure and one table.

    Args:
        frame: trials of several studies.
    """
    hours, comparison = _hours(frame), compare(frame)
    placed = points(frame, hours)
    placed["family"] = placed["study"] + ": " + placed["family"]
    differ = difference_notes(frame)
    section = Section(
        "side-by-side",
        "What each reached",
        paragraphs=_joined(note for note in comparison.notes if note not in differ),
        figure=(
            Figure("f1-against-hours", f"{' '.join(differ)} They are not drawn together.", None)
            if differ
            else f1_against_hours(placed, marks(placed["family"]), hours)
        ),
        tables=(table(comparison.table, ("study", *FAMILIES), "The models of each study"),),
    )
    return Chapter("studies", "The studies side by side", (section,))


def study_chapter(
    frame: pd.DataFrame,
    curve_frame: pd.DataFrame,
    stored: StoredStudy,
    *,
    slug: str = "study-1",
    confirmed: Confirmation | None = None,
) -> Chapter:
    """All that there is to tell of one study.

    Args:
        frame: its trials.
        curve_frame: its curves.
        stored: what the store has of it.
        slug: of its place in the page.
        confirmed: None where nothing was confirmed.
    """
    groups, ranking = marks(frame["family"].dropna()), rank(frame)
    sections = (
        _answer(frame, ranking, confirmed),
        Section("asked", "What was asked", facts=asked(stored.manifest)),
        _ranking(ranking),
        *_confirmed(confirmed),
        _points(frame, groups),
        _models(frame),
        _spending(frame, groups),
        _learning(curve_frame, groups),
        _importance(frame, stored),
        _parallel(frame),
        _ends(frame),
        _energy(frame),
        _manifest(stored),
    )
    return Chapter(slug, f"The study {stored.name}", sections)


def _joined(notes: Iterable[str]) -> tuple[str, ...]:
    """Sentences as one paragraph, or none."""
    told = " ".join(notes)
    return (told,) if told else ()


def _hours(frame: pd.DataFrame) -> Hours:
    """Modelled ones, but where a study has measured ones alone."""
    has = {hours: frame[column].notna().any() for hours, column in HOURS_COLUMN.items()}
    return "measured" if has["measured"] and not has["modelled"] else "modelled"


def _answer(frame: pd.DataFrame, ranking: Ranking, confirmed: Confirmation | None) -> Section:
    return Section("answer", "In short", facts=summary(frame, ranking, confirmed).facts())


def _ranking(ranking: Ranking) -> Section:
    shown, rest = ranking.table.head(TOP), len(ranking.table) - TOP
    tables = [table(shown, RANKED, f"Trials by {ranking.by}, the best first")]
    if rest > 0:
        tables.append(table(ranking.table, RANKED, f"All {len(ranking.table)}", folded=True))
    if len(ranking.controls):
        caption = "The baselines beside them: no GPU, so no hours and no rank"
        tables.append(table(ranking.controls.head(TOP), CONTROLS, caption))
    has_hours = ranking.table[HOURS_COLUMN[ranking.hours]].notna().any()
    notes = (*ranking.notes, *[hours_sentence(ranking)] * bool(has_hours))
    return Section("ranking", "What won", _joined(notes), tables=tuple(t for t in tables if t.rows))


def _confirmed(confirmed: Confirmation | None) -> Iterator[Section]:
    if confirmed is None:
        return
    times = len(confirmed.scorings)
    yield Section(
        "confirmed",
        "On the test part",
        _joined(confirmed.sentences),
        figure=confirmed_models(confirmed.models),
        tables=(
            *_shown(confirmed.models, MODELS, "The confirmed models"),
            *_folded(confirmed.pairs, PAIRS, "Each two of the searched ones"),
            *_folded(confirmed.scorings, SCORINGS, f"Every scoring of the test part: {times}"),
        ),
    )
    if confirmed.fractions is not None:
        groups = marks(model_label(confirmed.fractions))
        yield Section(
            "training-notes",
            "How much data it takes",
            figure=f1_by_training_notes(confirmed.fractions, groups),
            tables=_folded(confirmed.fractions, FRACTIONS, "F1 by training notes"),
        )


def _points(frame: pd.DataFrame, groups: Marks) -> Section:
    hours = _hours(frame)
    placed = points(frame, hours).sort_values(["f1", "trial"], ascending=[False, True])
    said = [
        "Intervals are rough: how far F1 is known by so many validation notes. They are a scale "
        "for the eye, and no test."
    ] * bool(placed["f1_low"].notna().any())
    return Section(
        "hours",
        "F1 against hours",
        tuple(said),
        figure=f1_against_hours(placed, groups, hours),
        tables=_folded(placed, POINTS, "Trials with an F1, the best first"),
    )


def _shown(frame: pd.DataFrame, names: Sequence[str], caption: str) -> tuple[Table, ...]:
    return (table(frame, names, caption),) if len(frame) else ()


def _folded(frame: pd.DataFrame, names: Sequence[str], caption: str) -> tuple[Table, ...]:
    if frame.empty:
        return ()
    cut = f", {MOST_ROWS} of {len(frame)}" if len(frame) > MOST_ROWS else ""
    return (table(frame.head(MOST_ROWS), names, caption + cut, folded=True),)


def _models(frame: pd.DataFrame) -> Section:
    comparison = compare(frame)
    none = [state.value for state in State if not comparison.table[state.value].any()]
    names = [name for name in FAMILIES if name not in none]
    shown = table(comparison.table, names, "A row a model: its best trial, and what all cost")
    return Section(
        "models",
        "Each model at its best",
        _joined(comparison.notes),
        tables=(shown,) * bool(shown.rows),
    )


def _spending(frame: pd.DataFrame, groups: Marks) -> Section:
    spent = spending(frame)
    last = spent.groupby("family", sort=True).tail(1)
    last.attrs = spent.attrs
    names = ("family", "best_f1", "spent_hours")
    return Section(
        "spending",
        "Best F1 against card hours spent",
        figure=best_against_spent(spent, groups),
        tables=_folded(last, names, "What each family came to"),
    )


def _learning(curve_frame: pd.DataFrame, groups: Marks) -> Section:
    by_epoch = learning(curve_frame)
    names = ("epoch", "trained", "stopped", "best_f1", "median_f1")
    return Section(
        "learning",
        "Learning curves",
        figure=learning_curves(drawn_curves(curve_frame), by_epoch, groups),
        tables=_folded(by_epoch, names, "Epoch by epoch"),
    )


def _importance(frame: pd.DataFrame, stored: StoredStudy) -> Section:
    found = importance_of(frame, stored.trials)
    names = ("parameter", "importance", "low", "high", "by_chance", "told_from_chance")
    return Section(
        "importance",
        "Which parameters mattered",
        figure=importances(found),
        tables=_folded(found.table, names, "Importance and its spread"),
    )


def _parallel(frame: pd.DataFrame) -> Section:
    laid_out = parallel(frame)
    best = frame.sort_values(["f1", "trial"], ascending=[False, True]).head(TOP)
    best.attrs = frame.attrs
    best = best[best["f1"].notna()]
    names = ("trial", "f1", "family", "model", *parameter_names(frame))
    return Section(
        "parallel",
        "The trials across their parameters",
        figure=parallel_coordinates(laid_out),
        tables=_folded(best, names, f"The parameters of the best {counted(len(best), 'trial')}"),
    )


def _ends(frame: pd.DataFrame) -> Section:
    by_family, why = ends(frame), reasons(frame)
    tables = [*_folded(by_family, tuple(map(str, by_family.columns)), "Trials by family and end")]
    if len(why):
        caption = "What did not fit or failed, and why"
        tables.append(table(why.head(2 * TOP), tuple(map(str, why.columns)), caption))
    said = () if len(why) else ("Every trial fitted the card, and none failed.",) * bool(len(frame))
    return Section(
        "ends", "How the trials ended", said, figure=trials_by_end(by_family), tables=tuple(tables)
    )


def _energy(frame: pd.DataFrame) -> Section:
    by_family = energy(frame)
    card = card_of(frame)
    said = (
        f"Modelled energy is the hours on the card {card} times its watts; measured energy is a "
        "GPU's own counter here. They are of different devices."
    )
    return Section(
        "energy",
        "Energy",
        (said,) * (card is not None),
        figure=energy_by_family(by_family),
        tables=_folded(by_family, tuple(map(str, by_family.columns)), "Hours and energy"),
    )


def _manifest(stored: StoredStudy) -> Section:
    return Section(
        "manifest",
        "The manifest",
        ("What the study was made with, as it stands in the study: hashes, counts and options.",),
        raw=json.dumps(stored.manifest, indent=1, ensure_ascii=False, default=str),
    )
