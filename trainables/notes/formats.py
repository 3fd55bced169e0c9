"""The file formats: CSV, TSV, JSON Lines and Parquet, each cell as text.

Nothing is guessed: `None`, `NA`, `01` and `1.0` are the labels that they look like. What is wrong
is collected with row numbers, and never shows a cell. What the columns are for stands in
`reading.py`.
"""

import codecs
import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SHOWN_ROWS = 5


class CorpusError(ValueError):
    """The file, or an option, is not what a corpus can be made of; all problems in one message."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(slots=True)
class Table:
    """What a file holds; its cells are confidential and not in its repr."""

    names: list[str]  # all columns of the file
    cells: dict[str, list[str]] = field(repr=False)  # the wanted columns; "" for no value
    rows: list[int] = field(repr=False)  # row number of each cell, from 1, without the header
    problems: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def some_rows(rows: Iterable[int]) -> str:
    """Row numbers for a message: five at most.

    >>> some_rows([3, 1]), some_rows(range(1, 9))
    ('rows 1, 3', 'rows 1, 2, 3, 4, 5 and 3 more')
    """
    ordered = sorted(rows)
    shown = ", ".join(str(row) for row in ordered[:_SHOWN_ROWS])
    more = f" and {len(ordered) - _SHOWN_ROWS} more" if len(ordered) > _SHOWN_ROWS else ""
    return f"row{'s' if len(ordered) > 1 else ''} {shown}{more}"


def reader_of(path: Path) -> Callable[[Path, list[str]], Table]:
    """The reader for the suffix, once the path is known to be a file with something in it."""
    try:
        if path.is_dir():
            raise CorpusError([f"{path} is a directory; give the file with the notes"])
        if not path.exists():
            raise CorpusError([f"{path} does not exist; give the file with the notes"])
        if not path.is_file():
            raise CorpusError([f"{path} is no regular file; save the notes in one"])
        size_bytes = path.stat().st_size
    except OSError as error:
        raise CorpusError([f"{path} cannot be read: {error.strerror}"]) from None
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise CorpusError(
            [f"{path.name}: the suffix must be one of {', '.join(_READERS)}; got {path.suffix!r}"]
        )
    if size_bytes == 0:
        raise CorpusError([f"{path} is empty; a corpus needs notes"])
    return reader


def _read_text(path: Path) -> str:
    """The file's text; bytes that are not UTF-8 become lone surrogates."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError([f"{path} cannot be read: {error.strerror}"]) from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CorpusError([f"{path.name} is UTF-16; save the file as UTF-8"])
    if b"\0" in data:
        raise CorpusError([f"{path.name} is no table: it holds binary data, whatever its suffix"])
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")
    if not text.strip():
        raise CorpusError([f"{path} holds white space only; a corpus needs notes"])
    return text


def _read_csv(path: Path, wanted: list[str]) -> Table:
    """Comma-separated; a semicolon or a tab where only that finds the columns (Excel in Europe)."""
    text = _read_text(path)
    start = text.lstrip("\r\n").splitlines()[0]

    def found(separator: str) -> int:
        return len({name.strip().strip('"') for name in start.split(separator)} & set(wanted))

    separator = max(",;\t", key=found)  # the first of equals: the comma
    table = _read_separated(text, wanted, separator)
    if separator != ",":
        table.findings.append(f"read with {separator!r} between the columns, not a comma")
    return table


def _read_tsv(path: Path, wanted: list[str]) -> Table:
    return _read_separated(_read_text(path), wanted, "\t")


def _read_separated(text: str, wanted: list[str], separator: str) -> Table:
    limit = csv.field_size_limit(max(len(text) + 1, csv.field_size_limit()))
    try:
        records, problems = _records(text, separator)
    finally:
        csv.field_size_limit(limit)  # it is global to the process, and a note may be longer
    names = [name.strip() for name in records[0]] if records else []
    ragged = [row for row, record in enumerate(records) if row and len(record) != len(names)]
    if ragged:
        problems.append(
            f"{some_rows(ragged)}: not the {len(names)} cells of the header row; "
            "put a text that holds the separator or a line break in quotes"
        )
    rows = sorted(set(range(1, len(records))) - set(ragged))
    cells = {
        name: [records[row][names.index(name)] for row in rows] for name in wanted if name in names
    }
    return Table(names, cells, rows, problems)


def _records(text: str, separator: str) -> tuple[list[list[str]], list[str]]:
    """The records, header first, without blank lines, up to the first that cannot be parsed."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[list[str]] = []
    line = 1
    try:
        for record in reader:
            if record:
                records.append(record)
            line = reader.line_num + 1
    except csv.Error as error:  # its messages name characters of the format, never a cell
        where = f"row {len(records)}" if records else "the header row"
        return records, [
            f"{where} (from line {line}): the quotes are wrong ({error}); "
            "nothing after it could be read"
        ]
    return records, []


def _read_json_lines(path: Path, wanted: list[str]) -> Table:
    """One JSON object a line; a number keeps the digits that it is written with."""
    lines = (line for line in _read_text(path).split("\n") if line.strip())
    records: list[dict[str, Any]] = []
    rows: list[int] = []
    broken: list[int] = []
    for row, line in enumerate(lines, start=1):
        try:
            record = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            records.append(record)
            rows.append(row)
        else:
            broken.append(row)
    problems = []
    if broken:
        problems.append(f"{some_rows(broken)}: no JSON object; each line must be one")
    names = list(dict.fromkeys(name for record in records for name in record))
    cells = {}
    for name in dict.fromkeys(wanted):
        if name not in names:
            continue
        values = [record.get(name) for record in records]
        nested = [r for r, v in zip(rows, values, strict=True) if isinstance(v, dict | list)]
        if nested:
            problems.append(f"{some_rows(nested)}: column {name!r} holds a list or an object")
        cells[name] = [_as_text(value) for value in values]
    return Table(names, cells, rows, problems)


def _as_text(value: object) -> str:
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="surrogateescape")
    if isinstance(value, float) and math.isnan(value):
        return ""  # what pandas leaves where a number is missing
    return str(value)


def _read_parquet(path: Path, wanted: list[str]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            once = [name for name in dict.fromkeys(wanted) if names.count(name) == 1]
            arrow = file.read(columns=once)
    except PermissionError as error:
        raise CorpusError([f"{path} cannot be read: {error.strerror}"]) from None
    except (pa.ArrowException, OSError):  # pyarrow's own message may quote what it read
        raise CorpusError([f"{path.name} is no Parquet file, or it is damaged"]) from None
    table = Table(names, {}, list(range(1, arrow.num_rows + 1)))
    for name in once:
        column = arrow.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            # Through bytes: a file may break its promise that a string is UTF-8.
            column = column.cast(kind).cast(pa.large_binary())
        elif not (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_binary(kind)
            or pa.types.is_large_binary(kind)
            or pa.types.is_null(kind)
        ):
            table.problems.append(
                f"column {name!r} is of type {_kind_name(kind)}; text, numbers and truth values "
                "are understood"
            )
            continue
        table.cells[name] = [_as_text(value) for value in column.to_pylist()]
    return table


def _kind_name(kind: Any) -> str:
    """The type without what a nested one holds: names of fields are data."""
    return str(kind).partition("<")[0]


_READERS: dict[str, Callable[[Path, list[str]], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
