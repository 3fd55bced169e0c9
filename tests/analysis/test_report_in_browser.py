"""The report in a real Chromium: it draws, tells, fits and fetches nothing. Run by make proof."""

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from xml.etree import ElementTree

import pytest

from benchmarks import toy_study as toy
from headhunt.analysis import curves, trials
from headhunt.analysis.chapters import study_chapter
from headhunt.analysis.report import Report, report, write_figures, write_report
from headhunt.stores import store_at

from .pages import HOSTILE, confirmed, searched
from .recorded import Recorded, control, record

pytestmark = pytest.mark.proof

PARTS = {"train": 700, "validation": 150, "test": 150}
CORPUS = {"digest": "d0", "notes": 1000, "classes": ["calm", HOSTILE], "parts": PARTS}
WIDTHS = (1400, 400)
PAPER = 680
# Every text of a drawing, and the drawing: what is cut off lies outside.
TEXTS_OUTSIDE = """
place => {
  const box = place.querySelector('.main-svg').getBoundingClientRect();
  return Array.from(place.querySelectorAll('.main-svg text'))
    .filter(text => text.textContent.trim() && text.getBoundingClientRect().width)
    .filter(text => {
      const own = text.getBoundingClientRect();
      return own.left < box.left - 1 || own.right > box.right + 1
        || own.top < box.top - 1 || own.bottom > box.bottom + 1;
    })
    .map(text => text.textContent);
}
"""


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for the whole module."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def shown(browser, file, width):
    """The page at this width, all of it scrolled past, and what it has said and asked for."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    for place in page.locator(".drawing").all():
        place.scroll_into_view_if_needed()
        place.locator(".main-svg").first.wait_for(timeout=60_000)
    try:
        yield page, said, asked
    finally:
        page.close()


def hover_on(page, name, said):
    """Point at the marks of a drawing, one after the other, until one tells of this."""
    place = page.locator(f"#figure-{name}")
    place.scroll_into_view_if_needed()
    for mark in place.locator(".scatterlayer .points path.point").all():
        box = mark.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(150)
        told = place.locator(".hoverlayer .hovertext")
        if told.count() and said in told.first.text_content():
            return told.first.text_content()
    return ""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Reports of a study with every kind of end, of odd ones, of several, and of 1,000 trials."""
    store, folder = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("pages")
    corpus = {"corpus": CORPUS}
    record(store, searched(), study="full", manifest=corpus)
    record(store, searched(HOSTILE), study=HOSTILE, manifest=corpus)
    record(store, [], study="empty", manifest=corpus)
    record(store, [Recorded()], study="one", manifest=corpus)
    record(store, [Recorded(epoch_seconds=None), control(0.6)], study="cardless", card=None)
    toy.record(store, trials=1000, name="toy")
    pages = {name: [name] for name in ("full", "empty", "one", "cardless", "toy")}
    pages |= {"hostile": [HOSTILE], "several": ["full", HOSTILE, "one"]}
    written = {}
    for name, studies in pages.items():
        written[name] = folder / f"{name}.html"
        write_report(report(studies, store=store), written[name])
    frame, stored = trials("full", store=store), store_at(store).read("full")
    chapter = study_chapter(
        frame, curves("full", store=store), stored, confirmed=confirmed(HOSTILE)
    )
    written["confirmed"] = folder / "confirmed.html"
    made_at = report(["full"], store=store).made_at
    write_report(Report("full", (chapter,), made_at), written["confirmed"])
    written["store"] = store
    return written


NAMES = ("full", "hostile", "several", "confirmed", "toy", "empty", "one", "cardless")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_draws_without_a_word_fetches_nothing_and_fits_the_width(browser, files, name, width):
    with shown(browser, files[name], width) as (page, said, asked):
        assert said == []
        assert asked == [files[name].as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for place in page.locator(".drawing").all():
            assert place.locator(".trace, .bars, .scatterlayer").count() > 0
            assert place.bounding_box()["height"] > 150
            assert place.evaluate(TEXTS_OUTSIDE) == []
        assert page.locator("figure").count() == page.locator(".drawing .modebar").count()


@pytest.mark.parametrize("width", WIDTHS)
def test_hover_shows_a_trials_parameters(browser, files, width):
    with shown(browser, files["full"], width) as (page, _, _):
        told = hover_on(page, "study-1-f1-against-hours", "complete")

    assert re.search(r"trial \d+: \w+", told), told
    assert "learning_rate" in told
    assert re.search(r"F1 0\.\d{4}", told)


def test_a_name_with_html_in_it_is_text_on_the_page_and_in_the_drawings(browser, files):
    with shown(browser, files["hostile"], 1400) as (page, said, _):
        assert page.locator("img").count() == 0
        assert HOSTILE in page.locator("h1").text_content()
        legend = page.locator("#figure-study-1-f1-against-hours .legendtext").all_text_contents()
        assert f"{HOSTILE}frozen" in legend  # in two lines
        assert HOSTILE in hover_on(page, "study-1-f1-against-hours", "complete")
        assert said == []


def test_the_policy_stops_a_handler_that_would_be_smuggled_in(browser, files):
    with shown(browser, files["full"], 1400) as (page, said, _):
        page.evaluate(
            "document.body.insertAdjacentHTML('beforeend',"
            " '<img src=http://127.0.0.1:9/x onerror=\"window.smuggled = 1\">')"
        )
        page.wait_for_timeout(300)

        assert page.evaluate("window.smuggled") is None
        assert any("127.0.0.1:9" in line and "img-src" in line for line in said)
        assert any("inline event handler" in line for line in said)


def test_the_keyboard_reaches_the_text_and_opens_the_tables(browser, files):
    with shown(browser, files["full"], 1400) as (page, _, _):
        page.evaluate("window.scrollTo(0, 0)")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        folded = page.locator("details.folded").first
        folded.locator("summary").first.focus()
        page.keyboard.press("Enter")
        assert folded.get_attribute("open") is not None


def test_on_paper_every_figure_is_drawn_and_none_is_wider_than_the_page(browser, files, tmp_path):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(files["full"].as_uri())
    pdf = page.pdf(path=tmp_path / "printed.pdf", format="A4")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    widths = page.evaluate(
        "Array.from(document.querySelectorAll('.drawing')).map("
        " place => place.querySelector('.main-svg').width.baseVal.value)"
    )
    page.close()

    assert pdf.startswith(b"%PDF")
    assert len(widths) == 6
    assert max(widths) <= PAPER


@pytest.mark.parametrize("image_format", ["svg", "pdf"])
def test_every_figure_becomes_a_file(files, tmp_path, image_format):
    made = report(["full", HOSTILE], store=files["store"])
    written = write_figures(made, tmp_path / "figures", image_format)

    assert len(written) == len(list(made.figures())) == 13
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in written)
    for file in written:
        if image_format == "pdf":
            assert file.read_bytes().startswith(b"%PDF")
        else:
            root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
            assert root.tag.endswith("svg")
            assert not list(root.iter("{http://www.w3.org/2000/svg}image"))


def test_figures_are_drawn_where_there_is_no_network(files, tmp_path):
    apart = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("this machine lets nobody leave its network: unshare --net is refused")
    code = "import sys; from headhunt.search.cli import main; main()"
    words = ["report", "full", "--store", files["store"], "-o", tmp_path / "report.html"]

    ended = subprocess.run(
        [*apart, sys.executable, "-c", code, *words, "--figures", tmp_path / "figures"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "figures").glob("*.svg"))) == 6
