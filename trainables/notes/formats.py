"""The file formats: CSV, TSV, JSON Lines and Parquet, each cell as text, whole or in pieces.

Nothing is guessed: `None`, `NA`, `01` and `1.0` are the labels that they look like. What is wrong
is collected with row numbers, and never shows a cell. What the columns are for stands in
`reading.py`.
"""

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

_SHOWN_ROWS = 5
LONGEST = 2**24  # characters of a line or a cell: a note of 100,000 words has a million
_MOST_COLUMNS = 10_000
_PIECE_ROWS = 2**16  # of a file that is read whole
_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # its first bytes, read as what is not UTF-8


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
    wrong: dict[str, list[int]] = field(default_factory=dict)  # what is wrong with which rows

    def add(self, after: "Table") -> None:
        """Put the piece behind this one; a column that either lacks has no value there."""
        for name in (*self.cells, *(n for n in after.cells if n not in self.cells)):
            here = self.cells.setdefault(name, [""] * len(self.rows))
            here += after.cells.get(name, [""] * len(after.rows))
        self.names = after.names
        self.rows += after.rows
        self.problems += after.problems
        self.findings += after.findings
        for rule, rows in after.wrong.items():
            self.wrong.setdefault(rule, []).extend(rows)


def some_rows(rows: Iterable[int]) -> str:
    """Row numbers for a message: five at most.

    >>> some_rows([3, 1]), some_rows(range(1, 9))
    ('rows 1, 3', 'rows 1, 2, 3, 4, 5 and 3 more')
    """
    ordered = sorted(rows)
    shown = ", ".join(str(row) for row in ordered[:_SHOWN_ROWS])
    more = f" and {len(ordered) - _SHOWN_ROWS} more" if len(ordered) > _SHOWN_ROWS else ""
    return f"row{'s' if len(ordered) > 1 else ''} {shown}{more}"


def told(wrong: Mapping[str, Iterable[int]]) -> list[str]:
    """A problem for each rule that rows break.

    >>> told({"the text is empty": [7, 2]})
    ['rows 2, 7: the text is empty']
    """
    return [f"{some_rows(rows)}: {rule}" for rule, rows in wrong.items()]


def read_file(path: Path, wanted: list[str]) -> Table:
    """The wanted columns, by the reader for the suffix.

    Raises:
        CorpusError: the path is no file or one that changes, or nothing in it can be read.
    """
    pieces = read_pieces(path, wanted, _PIECE_ROWS)
    table = next(pieces)
    for piece in pieces:
        table.add(piece)
    table.problems += told(table.wrong)
    return table


def read_pieces(path: Path, wanted: list[str], rows: int) -> Iterator[Table]:
    """The same, so many rows at a time at most; at least one piece, of which any may be empty.

    The names of JSON Lines' columns are those seen so far.

    Raises:
        CorpusError: see `read_file`; that the file has changed is told behind the last piece.
    """
    try:
        if path.is_dir():
            raise CorpusError([f"{path} is a directory; give the file with the notes"])
        if not path.exists():
            raise CorpusError([f"{path} does not exist; give the file with the notes"])
        if not path.is_file():
            raise CorpusError([f"{path} is no regular file; save the notes in one"])
        before = path.stat()
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            known = ", ".join(_READERS)
            raise CorpusError(
                [f"{path.name}: the suffix must be one of {known}; got {path.suffix!r}"]
            )
        if before.st_size == 0:
            raise CorpusError([f"{path} is empty; a corpus needs notes"])
        try:
            yield from reader(path, wanted, rows)
        except CorpusError:  # of what is half-written, perhaps
            _refuse_changed(path, before)
            raise
        _refuse_changed(path, before)
    except OSError as error:
        raise CorpusError([f"{path} cannot be read: {error.strerror}"]) from None


def _refuse_changed(path: Path, before: os.stat_result) -> None:
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CorpusError([_changed(path)])


def _changed(path: Path) -> str:
    return f"{path} changed while it was read; wait until whatever writes it is done"


def _lines(path: Path, newline: str) -> Iterator[str]:
    """The lines of a text, one in memory at a time; bytes that are not UTF-8 are lone surrogates.

    Args:
        path: the file.
        newline: what ends a line, as `open` takes it.

    Raises:
        CorpusError: it is no text, has no word or an endless line, or grows faster than it is read.
    """
    written, read = False, 0
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline) as file:
        size_bytes = path.stat().st_size
        for number in count(1):
            line = file.readline(LONGEST + 1)
            if not line:
                break
            if number == 1 and line.startswith(_UTF_16):
                raise CorpusError([f"{path.name} is UTF-16; save the file as UTF-8"])
            if "\0" in line:
                raise CorpusError(
                    [
                        f"{path.name} is no table: it holds binary data, a NUL byte in line "
                        f"{number}; save it as text in UTF-8"
                    ]
                )
            if len(line) > LONGEST:
                raise CorpusError(
                    [
                        f"{path.name}: line {number} is longer than {LONGEST:,} characters, which "
                        "no note is; is it the right file?"
                    ]
                )
            read += len(line)
            if read > size_bytes:
                raise CorpusError([_changed(path)])
            written = written or not line.isspace()
            yield line
    if not written:
        raise CorpusError([f"{path} holds white space only; a corpus needs notes"])


def _read_csv(path: Path, wanted: list[str], rows: int) -> Iterator[Table]:
    """Comma-separated; a semicolon or a tab where only that finds the columns (Excel in Europe)."""
    lines, start = _lines(path, ""), []
    for line in lines:
        start.append(line)
        if line.strip("\r\n"):
            break

    def found(separator: str) -> int:
        return len({n.strip().strip('"') for n in start[-1].split(separator)} & set(wanted))

    separator = max(",;\t", key=found)  # the first of equals: the comma
    findings = [f"read with {separator!r} between the columns, not a comma"]
    for piece in _read_separated(path, chain(start, lines), wanted, rows, separator):
        if separator != ",":
            piece.findings, findings = findings, []
        yield piece


def _read_tsv(path: Path, wanted: list[str], rows: int) -> Iterator[Table]:
    return _read_separated(path, _lines(path, ""), wanted, rows, "\t")


def _read_separated(
    path: Path, lines: Iterable[str], wanted: list[str], rows: int, separator: str
) -> Iterator[Table]:
    problems: list[str] = []
    limit = csv.field_size_limit(LONGEST)
    try:
        records = _records(lines, separator, problems)
        names = [name.strip() for name in next(records, [])]
        _refuse_columns(path, len(names))
        places = {name: names.index(name) for name in wanted if name in names}
        ragged = (
            f"not the {len(names)} cells of the header row; "
            "put a text that holds the separator or a line break in quotes"
        )
        table = Table(names, {name: [] for name in places}, [])
        for row, record in enumerate(records, start=1):
            if len(table.rows) == rows:
                yield table
                table = Table(names, {name: [] for name in places}, [])
            if len(record) != len(names):
                table.wrong.setdefault(ragged, []).append(row)
                continue
            table.rows.append(row)
            for name, place in places.items():
                table.cells[name].append(record[place])
        table.problems += problems
        yield table
    finally:
        csv.field_size_limit(limit)  # it is global to the process


def _refuse_columns(path: Path, columns: int) -> None:
    if columns > _MOST_COLUMNS:
        raise CorpusError(
            [
                f"{path.name} has more than {_MOST_COLUMNS:,} columns, which no table of notes "
                "has; is it the right file, and the right separator?"
            ]
        )


def _records(lines: Iterable[str], separator: str, problems: list[str]) -> Iterator[list[str]]:
    """The records, header first, without blank lines; the first that cannot be parsed ends them."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    read, line = 0, 1
    try:
        for record in reader:
            if record:
                yield record
                read += 1
            line = reader.line_num + 1
    except csv.Error as error:  # its messages name characters of the format, never a cell
        where = f"row {read}" if read else "the header row"
        problems.append(
            f"{where} (from line {line}): the quotes are wrong ({error}); "
            "nothing after it could be read"
        )


def _read_json_lines(path: Path, wanted: list[str], rows: int) -> Iterator[Table]:
    """One JSON object a line; a number keeps the digits that it is written with."""
    names: dict[str, None] = {}
    table = Table([], {}, [])
    for row, line in enumerate((line for line in _lines(path, "\n") if line.strip()), start=1):
        if len(table.rows) == rows:
            yield table
            table = Table([], {}, [])
        record = _json_object(line)
        if record is None:
            rule = "no JSON object; each line must be one"
            table.wrong.setdefault(rule, []).append(row)
            continue
        names |= dict.fromkeys(record)
        _refuse_columns(path, len(names))
        for name in wanted:
            if name not in names:
                continue
            column = table.cells.setdefault(name, [""] * len(table.rows))
            value = record.get(name)
            if isinstance(value, dict | list):
                rule = f"column {name!r} holds a list or an object"
                table.wrong.setdefault(rule, []).append(row)
            column.append(_as_text(value))
        table.rows.append(row)
        table.names = list(names)
    yield table


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line, parse_int=str, parse_float=str, parse_constant=_constant)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _constant(name: str) -> str | None:
    """What is no JSON, but written by many: NaN is a number that is missing."""
    return None if name == "NaN" else name


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


def _read_parquet(path: Path, wanted: list[str], rows: int) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = list(schema.names)
            _refuse_columns(path, len(names))
            once = [name for name in dict.fromkeys(wanted) if names.count(name) == 1]
            kinds = {name: _text_or_number(schema.field(name).type) for name in once}
            problems = [
                f"column {name!r} is of type {_kind_name(schema.field(name).type)}; text, numbers "
                "and truth values are understood"
                for name, kind in kinds.items()
                if kind is None
            ]
            known = {name: kind for name, kind in kinds.items() if kind is not None}
            yield Table(names, {name: [] for name in known}, [], problems)
            first = 1
            for batch in file.iter_batches(min(rows, _PIECE_ROWS), columns=once):
                cells = {}
                for name, kind in known.items():
                    column = batch.column(name)
                    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                        # Through bytes: a file may break its promise that a string is UTF-8.
                        column = column.cast(kind).cast(pa.large_binary())
                    cells[name] = [_as_text(value) for value in column.to_pylist()]
                yield Table(names, cells, list(range(first, first + batch.num_rows)))
                first += batch.num_rows
    except (PermissionError, CorpusError):
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError):
        # pyarrow's own message may quote what it read
        raise CorpusError(
            [f"{path.name} is no Parquet file, or it is damaged; write it anew"]
        ) from None


def _kind_name(kind: Any) -> str:
    """The type without what a nested one holds: names of fields are data."""
    return str(kind).partition("<")[0]


def _text_or_number(kind: Any) -> Any:
    """The Arrow type of a column's values where it is one that cells are made of, or None."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    understood = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_null,
    )
    return kind if any(holds(kind) for holds in understood) else None


_READERS: dict[str, Callable[[Path, list[str], int], Iterator[Table]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
