"""Which columns of the file are read, and what is wrong with them and with single cells.

Problems are collected, so that the caller can say all of them at once, with row numbers and names
of columns, and never with a cell. What is wrong with the notes as a whole is found in `checks.py`.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from .formats import LONGEST, Table, read_file, told
from .split import Part

# Bytes that are not UTF-8 are read as lone surrogates, and found again once their row is known.
_UNDECODABLE = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"(?=.*[^\W\d])[\w.\-/]{1,32}( [\w.\-/]{1,32})?")
_SHOWN_NAMES = 20
_LABEL_CHARACTERS = 100  # a longer label is a text in the wrong column, and would be printed
SPLIT_WORDS = {
    "train": Part.TRAIN,
    "validation": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "val": Part.VALIDATION,
    "dev": Part.VALIDATION,
    "test": Part.TEST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns' names in the file. None for `patient` or `split`: do not look for one."""

    text: str = "text"
    label: str = "label"
    patient: str | None = "patient_id"
    split: str | None = "split"

    def roles(self) -> dict[str, str]:
        """Role to name, without the columns that are not looked for."""
        pairs = {"text": self.text, "label": self.label}
        pairs |= {"patient": self.patient} if self.patient is not None else {}
        return pairs | ({"split": self.split} if self.split is not None else {})


DEFAULT_COLUMNS = Columns()


def read_table(path: Path, columns: Columns) -> Table:
    """The wanted columns, by role (`text`, `label`, `patient`, `split`), and what is wrong.

    Raises:
        CorpusError: there is no table to look at, so nothing more can be said.
    """
    roles = columns.roles()
    table = read_file(path, list(roles.values()))
    optional = {
        role for role in ("patient", "split") if roles.get(role) == getattr(DEFAULT_COLUMNS, role)
    }
    problems = column_problems(table, roles, optional)
    problems += told(undecodable(table))
    if not table.rows and not table.problems:
        problems.append("the table has no rows; a corpus needs notes")
    cells = by_role(table, roles)
    return Table(table.names, cells, table.rows, table.problems + problems, table.findings)


def by_role(table: Table, roles: Mapping[str, str]) -> dict[str, list[str]]:
    """The cells of the columns that are there, by role."""
    return {role: table.cells[name] for role, name in roles.items() if name in table.cells}


def undecodable(table: Table) -> dict[str, list[int]]:
    """What is wrong with the bytes of which rows; its cells are still by the columns' names."""
    wrong = {}
    for name, cells in table.cells.items():
        broken = [row for row, cell in zip(table.rows, cells, strict=True) if _broken(cell)]
        if broken:
            rule = f"column {name!r} has bytes that are not UTF-8; save the file as UTF-8"
            wrong[rule] = broken
    return wrong


def _broken(cell: str) -> bool:
    return _UNDECODABLE.search(cell) is not None


def cell_problems(table: Table) -> tuple[list[str], list[bool]]:
    """What is wrong with single cells, and for each row whether nothing is."""
    wrong = wrong_cells(table)
    bad = {row for rows in wrong.values() for row in rows}
    return told(wrong), [row not in bad for row in table.rows]


def wrong_cells(table: Table) -> dict[str, list[int]]:
    """What is wrong with single cells, and in which rows."""
    wrong: dict[str, list[int]] = {}

    def check(role: str, rule: str, bad: Iterable[bool]) -> None:
        if role in table.cells:
            wrong[rule] = [row for row, is_bad in zip(table.rows, bad, strict=True) if is_bad]

    texts, labels, words = (table.cells.get(role, []) for role in ("text", "label", "split"))
    check("text", "the text is empty; remove the row or fill it", (not t.strip() for t in texts))
    check(
        "text",
        f"the text is longer than {LONGEST:,} characters, which no note is; cut it",
        (len(text) > LONGEST for text in texts),
    )
    check("label", "the label is empty; remove the row or fill it", (not v.strip() for v in labels))
    check(
        "label",
        f"the label is longer than {_LABEL_CHARACTERS} characters or has a line break; "
        "is it the right column?",
        (len(v) > _LABEL_CHARACTERS or len(v.strip().splitlines()) > 1 for v in labels),
    )
    check(
        "split",
        f"the split is none of {', '.join(SPLIT_WORDS)}; correct it, or have the column ignored "
        "(--split-column '')",
        (word.strip().lower() not in SPLIT_WORDS for word in words),
    )
    return {rule: rows for rule, rows in wrong.items() if rows}


def column_problems(table: Table, roles: Mapping[str, str], optional: Set[str]) -> list[str]:
    """What is wrong with the columns; those of `optional` roles may be absent."""
    problems = []
    if len(set(roles.values())) < len(roles):
        named = ", ".join(f"{role}={name!r}" for role, name in roles.items())
        problems.append(f"each column has one role; got {named}")
    for role, name in roles.items():
        if role not in optional and table.names and name not in table.names:
            problems.append(f"no {role} column {name!r}; {_shown_names(table, roles)}")
    for name in dict.fromkeys(roles.values()):
        if table.names.count(name) > 1:
            problems.append(f"column {name!r} is there {table.names.count(name)} times; keep one")
    return problems


def _shown_names(table: Table, roles: Mapping[str, str]) -> str:
    """The columns of the file, unless one of them may be a short note, or a patient.

    Without a header row the first note stands there: a header is believed that has a wanted name.
    """
    has_header = not set(roles.values()).isdisjoint(table.names)
    if has_header and not table.problems and all(_NAME.fullmatch(n) for n in table.names):
        more = len(table.names) - _SHOWN_NAMES
        shown = ", ".join(repr(name) for name in table.names[:_SHOWN_NAMES])
        return f"the file has {shown}" + (f" and {more:,} more" if more > 0 else "")
    return (
        f"the names of its {len(table.names)} columns are not shown, for one may be a note: "
        "is there a header row, and is the separator right?"
    )
