"""A bundle's file: a zip of CSV tables, JSON and a README, which says what each column is.

A bundle comes from elsewhere. Nothing in it is executed or unpacked to the disk, no member is read
that claims more than it may have, and values are held to the forms of `shareable`. The file of the
same results is the same to the byte: no clock, machine or user is in it.
"""

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from ..spaces.record import COLUMNS, UNREADABLE, State
from ..stores import StoreError, check_name, confirmed_by
from .aside import written_aside
from .columns import (
    CURVE_COLUMNS,
    DTYPES,
    FRACTION_COLUMNS,
    MODEL_COLUMNS,
    PAIR_COLUMNS,
    SCORING_COLUMNS,
    TIME,
    confirmed_dtype,
    described,
    parameter_dtypes,
)
from .shareable import (
    CURVES,
    FRACTIONS,
    MODELS,
    NEEDED,
    PAIRS,
    PARAMETERS,
    SCORINGS,
    TABLES,
    TRIALS,
    shared_fields,
    shared_frame,
)

SUFFIX = ".headhunt.zip"
FORMAT, VERSION = "headhunt bundle", 1
STUDY, COLUMNS_TABLE, README = "study.json", "columns.csv", "README.txt"
MIB = 2**20
MOST_FILE, MOST_TABLE, MOST_STUDY = 64 * MIB, 128 * MIB, 16 * MIB  # bytes
MOST_DIRECTORY = MIB  # bytes that list the members
MOST_COLUMNS = 1000  # of a table
MOST_SENTENCES, LONGEST_SENTENCE = 100, 10_000
_END = b"PK\x05\x06"  # begins the last 22 bytes, those of a zip's end
_END_BYTES = 22
_BROKEN = (*UNREADABLE, OSError, EOFError, csv.Error, zlib.error, zipfile.BadZipFile, RuntimeError)
ABOUT = """\
The results of one study of headhunt, a search for the text classifier with the most F1 per
GPU-hour. {summary}

study.json    what was asked, of which data (counts and class names) and with which versions;
              what may be said of the confirmation, where there is one
columns.csv   what each column of each table is: its unit, its type, and whether it was chosen,
              measured, modelled on an emulated card, or derived
{tables}

The tables are CSV in UTF-8 with a header row. An empty cell is a value that is missing, which is
not zero. Times are UTC. F1, precision and recall are means over the classes.

There is no text of a note in this file, no vocabulary, no weight of a model, no prediction or
class of a single note, no path, and no name of a machine or a user. Scores are exact, so from many
of them the number of notes of each class can be worked out.

To read it: `headhunt trials FILE`, `headhunt rank FILE`, `headhunt compare FILE FILE ...`, or
`from headhunt.analysis import trials; trials([FILE, ...])`; or any program that reads CSV.
"""
_ABOUT_TABLES = {
    TRIALS: "one row a trial",
    CURVES: "one row a trial and epoch",
    MODELS: "on test, one row a model that was trained again with other seeds",
    PAIRS: "on test, one row a pair of those models",
    FRACTIONS: "on test, one row a model and share of the training notes",
    SCORINGS: "one row a scoring of the test part",
}
TABLE_COLUMNS = {
    TRIALS: COLUMNS,
    CURVES: CURVE_COLUMNS,
    MODELS: MODEL_COLUMNS,
    PAIRS: PAIR_COLUMNS,
    FRACTIONS: FRACTION_COLUMNS,
    SCORINGS: SCORING_COLUMNS,
}


class BundleError(StoreError, ValueError):
    """A file is no bundle that can be read, or none can be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is shared of a study."""

    study: str
    manifest: dict[str, Any]
    tables: Mapping[str, pd.DataFrame]  # `TRIALS` and `CURVES`; more where there is a confirmation
    sentences: tuple[str, ...] = ()  # what may be said of the confirmation
    digest: str = ""  # of the file that it was read from


def is_bundle(source: str) -> bool:
    """Whether it names a bundle's file, and not a study of the store.

    >>> is_bundle("lab/heart.headhunt.zip"), is_bundle("heart")
    (True, False)
    """
    return source.endswith(SUFFIX)


def study_name(name: str) -> str:
    """The name, if a searched study may have it.

    Raises:
        StoreError: it is none.
    """
    if confirmed_by(check_name(name)):
        raise BundleError(f"{name!r} is the name of a confirmation, which has no bundle of its own")
    return name


def write_bundle(bundle: Bundle, file: Path, *, overwrite: bool = False) -> int:
    """Write the bundle, whole or not at all, readable by its owner alone.

    Returns:
        Its bytes.

    Raises:
        BundleError: the file is there, is called otherwise, or would be larger than one may be.
        OSError: it cannot be written.
    """
    refuse_file(file, overwrite=overwrite)
    with written_aside(file) as stream:
        with zipfile.ZipFile(stream, "w") as archive:
            for name, text in _members(bundle):
                data = text.encode()
                most = MOST_STUDY if name == STUDY else MOST_TABLE
                if len(data) > most:
                    raise BundleError(
                        f"{name} of the bundle would have {len(data):,} bytes: {most:,} is the most"
                    )
                member = zipfile.ZipInfo(name)  # of 1980: no clock
                member.create_system, member.external_attr = 3, 0o600 << 16
                archive.writestr(member, data, zipfile.ZIP_DEFLATED)
        size = stream.tell()
        if size > MOST_FILE:
            raise BundleError(f"the bundle would have {size:,} bytes: {MOST_FILE:,} is the most")
    return size


def refuse_file(file: Path, *, overwrite: bool) -> None:
    """Refuse a file that a bundle is not written to.

    Raises:
        BundleError: with what is wrong.
    """
    if not is_bundle(file.name):
        raise BundleError(f"a bundle is known by its name: -o ends in {SUFFIX}; got {file.name!r}")
    if file.is_dir() or (file.exists() and not overwrite):
        raise BundleError(f"{file} exists: name another file, or replace it with --overwrite")
    if not file.parent.is_dir():
        raise BundleError(f"there is no folder {file.parent} for the bundle")


def _members(bundle: Bundle) -> Iterable[tuple[str, str]]:
    """Names and contents, what a reader looks at first being first."""
    tables = "\n".join(f"{n + '.csv':<23} {_ABOUT_TABLES[n]}" for n in bundle.tables)
    counts = bundle.tables[TRIALS]["state"].value_counts()
    ends = ", ".join(f"{counts[s]} {s}" for s in State if s in counts.index) or "none"
    summary = f"Its name: {bundle.study}. Its trials: {ends}."
    yield README, ABOUT.format(summary=summary, tables=tables)
    stored = {"format": FORMAT, "version": VERSION, "study": bundle.study}
    stored |= {"manifest": bundle.manifest, "sentences": list(bundle.sentences)}
    yield STUDY, json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    yield COLUMNS_TABLE, _columns(bundle.tables)
    for name, frame in bundle.tables.items():
        yield f"{name}.csv", frame.to_csv(index=False, lineterminator="\n")


def _columns(tables: Mapping[str, pd.DataFrame]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["table", "column", "unit", "type", "origin", "text"])
    for table, frame in tables.items():
        told = frame.attrs["columns"]
        for name, dtype in frame.dtypes.items():
            column = told[name]
            rows.writerow([table, name, column["unit"], dtype, column["origin"], column["text"]])
    return text.getvalue()


def read_bundle(file: str | Path, tables: Sequence[str] = (TRIALS,)) -> Bundle:
    """What stands in the file, of these tables; those that it has not are left out.

    Raises:
        BundleError: it is not there, torn, something else, forged, or of a later headhunt.
    """
    file = Path(file)
    if not file.is_file():
        raise BundleError(f"there is no bundle {file}: `headhunt bundle STUDY` writes one")
    try:
        with file.open("rb") as stream:
            return _read(file, stream.read(MOST_FILE + 1), tables)
    except BundleError:
        raise
    except _BROKEN as error:
        raise BundleError(
            f"{file} cannot be read: it is torn, or `headhunt bundle` has not written it "
            f"({type(error).__name__}); copy it again, or have it written again"
        ) from None


def _read(file: Path, data: bytes, tables: Sequence[str]) -> Bundle:
    _refuse_directory(file, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        stored = _study(file, archive)
        frames = {
            name: _framed(name, _member(file, archive, f"{name}.csv", MOST_TABLE))
            for name in tables
            if name in (TRIALS, CURVES) or f"{name}.csv" in archive.namelist()
        }
    study = study_name(str(stored["study"]))
    sentences = stored["sentences"]
    if len(sentences) > MOST_SENTENCES or not all(map(_is_sentence, sentences)):
        raise ValueError(sentences)
    return Bundle(
        study=study,
        manifest={**shared_fields(stored["manifest"]), "study": study},
        tables=frames,
        sentences=tuple(sentences),
        digest=sha256(data).hexdigest(),
    )


def _refuse_directory(file: Path, data: bytes) -> None:
    """Refuse what is too large, or a list of members that is: it is held whole."""
    end = data[-_END_BYTES:]
    if len(data) > MOST_FILE or (
        end.startswith(_END) and int.from_bytes(end[12:16], "little") > MOST_DIRECTORY
    ):
        raise BundleError(f"{file} is larger than any bundle is ({MOST_FILE:,} bytes, few files)")
    if not end.startswith(_END):
        raise zipfile.BadZipFile


def _study(file: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    if STUDY not in archive.namelist():
        raise BundleError(f"{file} is a zip file that `headhunt bundle` has not written")
    stored = json.loads(_member(file, archive, STUDY, MOST_STUDY))
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise BundleError(f"{file} is a zip file that `headhunt bundle` has not written")
    if (version := stored.get("version")) != VERSION:
        if isinstance(version, int) and version > VERSION:
            raise BundleError(
                f"{file} was written by a later headhunt (format {version}, this one reads "
                f"{VERSION}): update headhunt"
            )
        raise ValueError(version)
    return stored


def _member(file: Path, archive: zipfile.ZipFile, name: str, most: int) -> str:
    """A member's text, which is no longer than the member claims."""
    member = archive.getinfo(name)
    if member.file_size > most:
        raise BundleError(
            f"{file}: {name} in it claims {member.file_size:,} bytes, and {most:,} is the most "
            "that a bundle has: it is damaged or forged"
        )
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile
    with archive.open(member) as stream:  # `archive.read` would believe the data and not the claim
        return stream.read(most).decode("utf-8")


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_SENTENCE and value.isprintable()


def _framed(table: str, text: str) -> pd.DataFrame:
    """The table's known columns, with the dtypes that they have when a store is read."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, dtypes = next(rows), _dtypes(table)
    if len(header) > MOST_COLUMNS or len(set(header)) < len(header):
        raise ValueError(len(header))
    places = {name: place for place, name in enumerate(header) if name in dtypes}
    cells: dict[str, list[str]] = {name: [] for name in places}
    for row in rows:
        if len(row) != len(header):
            raise ValueError(len(row))
        for name, place in places.items():
            cells[name].append(row[place])
    frame = pd.DataFrame({name: _series(values, dtypes[name]) for name, values in cells.items()})
    frame = shared_frame(frame, table)
    if missing := [name for name in TABLES[table] if name not in frame]:
        raise ValueError(missing)
    if frame[[name for name in NEEDED if name in frame]].isna().any(axis=None):
        raise ValueError(table)
    frame.attrs["columns"] = described(frame.columns, TABLE_COLUMNS[table])
    return frame


def _dtypes(table: str) -> dict[str, str]:
    """The dtype of each column that the table may have."""
    if table not in (TRIALS, CURVES):
        return {name: confirmed_dtype(name) for name in TABLES[table]}
    names = (*TABLES[table], *(PARAMETERS if table == TRIALS else ()))
    known = parameter_dtypes() | DTYPES
    return {name: known[name] for name in names}


def _series(cells: Sequence[str], dtype: str) -> pd.Series:
    if dtype == TIME:
        times = pd.to_datetime(pd.Series(cells, dtype="string"), format="ISO8601", utc=True)
        return times.dt.as_unit("us")
    read = _READERS[dtype]
    return pd.Series([read(cell) if cell else None for cell in cells], dtype=dtype)


def _yes(cell: str) -> bool:
    return {"True": True, "False": False}[cell]


_READERS: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "Int64": int,
    "float64": float,
    "boolean": _yes,
}
