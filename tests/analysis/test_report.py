import json
import subprocess
import sys
from datetime import UTC, datetime

import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from headhunt.analysis import curves, trials
from headhunt.analysis.chapters import study_chapter
from headhunt.analysis.figures import Figure
from headhunt.analysis.report import Report, as_json, render, report, write_report
from headhunt.search.cli.report import app
from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import AdapterHead
from headhunt.spaces.record import State
from headhunt.stores import store_at

from .pages import ENDING, HOSTILE, Page, confirmed, drawings, read, searched
from .recorded import Recorded, control, record

NAN = float("nan")
PARTS = {"train": 700, "validation": 150, "test": 150}
CORPUS = {"digest": "d0", "notes": 1000, "classes": ["calm", "urgent"], "parts": PARTS}
FIGURES = {
    *("f1-against-hours", "best-f1-against-hours-spent", "learning-curves"),
    *("trials-by-end", "energy", "parallel-coordinates"),
}


@pytest.fixture
def made(tmp_path):
    """Records studies, writes their report by the command, and returns the page."""

    def make(*recorded, study="lab", corpus=CORPUS, manifest=None, **changes):
        store = tmp_path / "store"
        told = {"corpus": corpus, **(manifest or {})}
        record(store, recorded, study=study, manifest=told, **changes)
        return reported(tmp_path, study)

    return make


def reported(folder, *studies):
    words = [*studies, "--store", str(folder / "store"), "-o", str(folder / "report.html")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return read(folder / "report.html")


def section(page, title):
    """The text between this heading and the next one that the contents name."""
    return page.text.rpartition(title)[2]


def test_a_report_answers_the_first_questions(made):
    _, page = made(*searched())

    for said in (
        "The best F1 is 0.8300: grn on minilm, frozen (trial 24).",
        "That is 0.1200 above the best baseline, tfidf_lr (trial 0), which has 0.7100",
        "Nothing has been confirmed",
        "On 150 validation notes an F1 of 0.8300 is roughly 0.7618 to 0.8817;",
        "It is the best of 25 complete trials, so some of it is luck.",
        "1,000 in 2 classes: 700 train, 150 validation, 150 test",
        "calm, urgent",
        "Quadro P620, 2,048 MiB, 40 W",
        "1 trial is unfinished",
        "needs 2000 MiB",
        "diverged",
    ):
        assert said in page.text, said


def test_every_figure_is_there_with_its_finding_and_a_table(made):
    html, page = made(*searched())

    drawn = {name.removeprefix("figure-study-1-") for name in drawings(html)}
    assert drawn == FIGURES
    for place in (each for each in page.all("div") if each.get("role") == "img"):
        assert len(place["aria-label"]) > 40
        assert place["aria-label"].partition(": ")[2] in page.text  # for those who see, too
    tables, figures = len(page.all("table")), len(page.all("figure"))
    assert tables > figures == len(FIGURES)


def test_a_figure_shows_the_numbers_of_its_table(made, tmp_path):
    html, _ = made(*searched())
    drawing = drawings(html)["figure-study-1-f1-against-hours"]
    frame = trials("lab", store=tmp_path / "store")
    heads = frame[(frame["state"] == "complete") & (frame["family"] == "minilm frozen")]

    (trace,) = [t for t in drawing["data"] if t["name"] == "minilm frozen"]
    assert sorted(decoded(trace["y"])) == sorted(heads["f1"])
    assert sorted(decoded(trace["x"])) == sorted(heads["card_hours"])
    assert any("learning_rate 0.1" in text and "trial 1:" in text for text in trace["text"])


def decoded(values):
    """Plotly writes arrays in base64."""
    import base64

    import numpy as np

    if isinstance(values, list):
        return values
    return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).tolist()


def test_headings_go_down_one_by_one_and_the_page_has_its_landmarks(made):
    _, page = made(*searched())

    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(after - before <= 1 for before, after in steps)
    assert page.all("html") == [{"lang": "en"}]
    assert {"class": "skip", "href": "#main"} in page.all("a")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(link["href"].removeprefix("#") in ids for link in page.all("a"))
    assert all(cell.get("scope") == "col" for cell in page.all("th"))


def test_each_column_of_the_ranking_is_explained_in_the_records_words(made):
    _, page = made(*searched())

    told = [cell["title"] for cell in page.all("th") if "title" in cell]
    assert len(told) == len(page.all("th"))
    assert any(text.startswith("GPU-hours on the study's card: all epochs paid") for text in told)


@pytest.mark.parametrize("name", [HOSTILE, ENDING.replace("/", ""), "50 % {{ 7 * 7 }} %{x} $y$"])
def test_a_name_with_html_in_it_is_text_wherever_it_stands(made, name):
    backbone, corpus = f"{name.replace('/', '')}", {**CORPUS, "classes": [name, ENDING]}
    html, page = made(
        *searched(backbone), study=name.strip(), corpus=corpus, manifest={"space": ENDING}
    )

    assert not page.all("img")
    assert len(page.all("script")) == len(FIGURES) + 2
    assert page.text.count(name) > 5
    assert ENDING in page.text
    assert "onerror" not in json.dumps([t for t, a in page.tags if "onerror" in a])
    for told in drawings(html).values():
        assert name not in json.dumps(told, ensure_ascii=False) or "<" not in name


def test_a_drawing_cannot_end_the_script_element_that_holds_it():
    drawing = go.Figure(go.Scatter(x=[1], y=[2], name=ENDING, text=[f"<!-- {HOSTILE} &"]))

    told = as_json(Figure("name", "finding", drawing))

    assert not set("<>&") & set(told)
    assert json.loads(told)["data"][0]["name"] == ENDING


def test_the_policy_allows_the_pages_own_scripts_alone(made):
    html, page = made(*searched())
    (policy,) = [m["content"] for m in page.all("meta") if "content" in m and "src" in m["content"]]

    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.partition("style-src")[0]
    assert all("src" not in script for script in page.all("script"))
    ours = html.partition("<script>")[0]  # what follows are scripts
    assert "<link" not in ours
    assert "://" not in ours


def test_a_confirmation_is_shown_with_every_scoring_counted(tmp_path):
    record(tmp_path, searched(), manifest={"corpus": CORPUS})
    frame, stored = trials("lab", store=tmp_path), store_at(tmp_path).read("lab")
    chapter = study_chapter(
        frame, curves("lab", store=tmp_path), stored, confirmed=confirmed(HOSTILE)
    )
    html = render(Report("lab", (chapter,), datetime.now(UTC)))
    page = Page(html)

    assert f"{HOSTILE} is better than the best baseline." in page.text
    assert "Every scoring of the test part: 2" in page.text
    assert "Nothing has been confirmed" not in page.text
    assert {"figure-study-1-confirmed", "figure-study-1-f1-by-training-notes"} <= set(
        drawings(html)
    )
    assert not page.all("img")


@pytest.mark.parametrize(
    ("recorded", "changes", "said"),
    [
        ([], {}, ["No trial was started.", "Nothing has won: no trial is complete."]),
        ([Recorded(state=State.RUNNING)], {}, ["no trial is complete", "1 trial is unfinished"]),
        ([Recorded()], {}, ["No baseline is complete", "It takes two trials"]),
        (
            [Recorded(epoch_seconds=None, measured=False), control(0.5, measured=False)],
            {"card": None},
            ["No hours are modelled", "No trial has both an F1 and modelled hours.", "No energy"],
        ),
        (
            [Recorded(state=State.INFEASIBLE, reason="needs 9 MiB")] * 3,
            {},
            ["The card could hold none of the trials: nothing was run.", "needs 9 MiB"],
        ),
        ([Recorded(f1=(NAN,)), control(0.6)], {}, ["1 complete trial without an F1 left out."]),
        ([control(0.6)], {}, ["Only baselines are complete: tfidf_lr (trial 0) has F1 0.6000."]),
        ([Recorded(f1=(0.5,)), control(0.7)], {}, ["0.2000 below the best baseline"]),
    ],
)
def test_what_is_missing_is_said_in_the_place_of_an_empty_figure(made, recorded, changes, said):
    html, page = made(*recorded, **changes)

    for sentence in (*said, "Nothing can be told of importance"):
        assert sentence in page.text, sentence
    for drawing in drawings(html).values():
        assert drawing["data"]
    for word in ("nan", "None", "<NA>", "inf"):
        assert f" {word}" not in page.text.replace("infeasible", ""), word


def test_a_manifest_that_tells_little_is_no_obstacle(tmp_path):
    record(tmp_path, [Recorded(), control(0.5)], manifest={"corpus": None, "card": {"name": "toy"}})

    page = Page(render(report(["lab"], store=tmp_path)))

    assert "Nothing has been confirmed" in page.text
    assert "validation notes an F1" not in page.text


def test_several_studies_are_set_side_by_side_and_then_each_has_a_chapter(tmp_path):
    for name in ("one", "two"):
        record(tmp_path / "store", searched(), study=name, manifest={"corpus": CORPUS})
    html, page = reported(tmp_path, "one", "two", "one")

    assert page.headings.count(2) == 3
    names = set(drawings(html))
    assert {"figure-studies-f1-against-hours", "figure-study-2-learning-curves"} <= names
    assert "one: minilm frozen" in html


def test_studies_of_two_corpora_are_not_drawn_into_one_figure(tmp_path):
    for name in ("one", "two"):
        told = {"corpus": {**CORPUS, "digest": name}}
        record(tmp_path / "store", searched(), study=name, manifest=told)
    html, page = reported(tmp_path, "one", "two")

    assert "The studies differ in their corpus: scores do not compare" in page.text
    assert "figure-studies-f1-against-hours" not in drawings(html)


def test_an_existing_report_is_replaced_whole_and_is_its_owners_alone(tmp_path):
    record(tmp_path / "store", searched())
    file = tmp_path / "report.html"
    file.write_text("old" * 10**7)
    file.chmod(0o644)

    size = write_report(report(["lab"], store=tmp_path / "store"), file)

    assert file.stat().st_size == size < 8e6
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.html", "store"]


def test_what_cannot_be_written_is_one_message_and_leaves_nothing(tmp_path):
    record(tmp_path / "store", [Recorded()])
    (tmp_path / "report.html").mkdir()
    words = ["lab", "--store", str(tmp_path / "store"), "-o", str(tmp_path / "report.html")]
    result = CliRunner().invoke(app, words)

    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert str(tmp_path / "report.html") in result.output
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.html", "store"]


def test_an_unknown_study_is_one_message(tmp_path):
    result = CliRunner().invoke(app, ["nobody", "--store", str(tmp_path)])

    assert result.exit_code == 2
    assert "no study 'nobody'" in result.output


def test_figures_without_a_chrome_are_one_message(tmp_path, monkeypatch):
    record(tmp_path / "store", searched())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-chrome"))
    words = ["lab", "--store", str(tmp_path / "store"), "-o", str(tmp_path / "report.html")]
    result = CliRunner().invoke(app, [*words, "--figures", str(tmp_path / "figures")])

    assert result.exit_code == 2
    assert "apt-get install chromium" in result.output
    assert (tmp_path / "report.html").exists()


def test_a_notebook_imports_the_analysis_without_plotly_and_jinja():
    heavy = "{'plotly', 'jinja2', 'sklearn', 'torch', 'ray'} & set(sys.modules)"
    code = f"import sys; import headhunt.analysis, headhunt.analysis.importance; print({heavy})"

    told = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert told.strip() == "set()"


def test_a_backbones_folder_is_named_by_its_last_part_alone(made):
    head = HeadConfig(backbone="/home/somebody/encoders/mine", head=AdapterHead())
    _, page = made(Recorded(config=head), control(0.5))

    assert "adapter on mine, frozen" in page.text
