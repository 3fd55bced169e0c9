"""A report of studies: one HTML page that opens without a network, and its figures as files.

The page holds Plotly's script, the figures' tables and no text of a note. Its policy lets it load
nothing and run no script but its own, whatever a label or a study is called.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ..stores import confirmed_by
from .aside import written_aside
from .bundle_file import is_bundle
from .chapters import Chapter, chapters
from .figures import Figure

if TYPE_CHECKING:
    from ..stores import Place

TEMPLATES = Path(__file__).with_name("templates")
IMAGE_FORMATS = ("svg", "pdf")
IMAGE_SIZE = {"width": 760}  # points of a figure in a file; its height is its own


class ReportError(Exception):
    """The report cannot be written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be shown of one study or of several."""

    title: str
    chapters: tuple[Chapter, ...]
    made_at: datetime

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Every figure that has something to draw, and a name for its file."""
        for chapter in self.chapters:
            for section in chapter.sections:
                if section.figure and section.figure.drawing is not None:
                    yield f"{chapter.slug}-{section.figure.name}", section.figure


def report(studies: Sequence[str], *, store: "Place | None" = None) -> Report:
    """Read the studies and draw what there is of them.

    Raises:
        StudyNotFoundError: the store has no such study.
        StudyUnreadableError: what the store has of one is broken.
        StoreError: the store cannot be reached.
        ReportError: one is a bundle, or a confirmation.
    """
    names = tuple(dict.fromkeys(studies))
    if files := [name for name in names if is_bundle(name)]:
        raise ReportError(
            f"a report is of studies in the store, and {files[0]} is a bundle: `headhunt compare` "
            "and `headhunt rank` read it"
        )
    if searched := next(filter(None, map(confirmed_by, names)), ""):
        raise ReportError(
            f"what confirms {searched!r} stands in its own report: `headhunt report {searched}`"
        )
    return Report(
        title=", ".join(names),
        chapters=tuple(chapters(names, store=store)),
        made_at=datetime.now(UTC),
    )


def render(report: Report) -> str:
    """The page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [get_plotlyjs(), (TEMPLATES / "report.js").read_text(encoding="utf-8")]
    return environment.get_template("report.html.j2").render(
        report=report,
        drawings={name: as_json(figure) for name, figure in report.figures()},
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        made_at=f"{report.made_at:%Y-%m-%d %H:%M} UTC",
    )


def as_json(figure: Figure) -> str:
    """A drawing for a script element: nothing in it can end the element or begin another."""
    assert figure.drawing is not None
    told = str(figure.drawing.to_json(validate=False))
    for character in "<>&\u2028\u2029":
        told = told.replace(character, f"\\u{ord(character):04x}")
    return told


def _hash(script: str) -> str:
    """As a Content-Security-Policy names a script."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def write_report(report: Report, file: Path) -> int:
    """Write the page, readable by its owner alone; a file that is there is replaced as a whole.

    Returns:
        Its bytes.

    Raises:
        OSError: it cannot be written.
    """
    page = render(report).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(file) as written:
        written.write(page)
    return len(page)


def write_figures(report: Report, folder: Path, image_format: str = "svg") -> list[Path]:
    """Every figure as a file for a paper, `svg` or `pdf`, readable by its owner alone.

    Raises:
        ReportError: Kaleido or a Chrome is missing.
        OSError: they cannot be written.
    """
    try:
        import kaleido
        from kaleido.errors import BrowserFailedError, ChromeNotFoundError
    except ImportError as error:
        raise ReportError(
            f"figures as files need the package {error.name}: pip install 'headhunt[figures]'"
        ) from error
    import plotly

    folder.mkdir(parents=True, exist_ok=True)
    script = Path(str(plotly.__file__)).parent / "package_data" / "plotly.min.js"
    specs = [
        {
            "fig": figure.drawing.to_plotly_json(),
            "path": folder / f"{name}.{image_format}",
            "opts": {"format": image_format, **IMAGE_SIZE, "height": figure.drawing.layout.height},
        }
        for name, figure in report.figures()
        if figure.drawing is not None
    ]
    try:
        # Without these two Kaleido would fetch scripts from the network.
        kaleido.write_fig_from_object_sync(specs, kopts={"mathjax": False, "plotlyjs": script})
    except (ChromeNotFoundError, BrowserFailedError) as error:
        raise ReportError(
            "figures as files are drawn by a Chrome or Chromium, and none was found: install one "
            "(Debian: apt-get install chromium), or name it in BROWSER_PATH"
        ) from error
    written = [spec["path"] for spec in specs]
    for file in written:
        file.chmod(0o600)
    return written
