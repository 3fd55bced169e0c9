"""Notes that are read a piece at a time, in the memory of one piece: for predictions.

The same file is read twice: once to say all that is wrong with it, in one `CorpusError`, and then
piece by piece. What is checked is what a corpus is checked for, by the same functions, but for what
concerns its labels as a whole and its split.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from .formats import CorpusError, Table, read_pieces, told
from .reading import by_role, column_problems, undecodable, wrong_cells


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteColumns:
    """The columns' names in the file. None: not wanted."""

    text: str = "text"
    label: str | None = None
    id: str | None = None  # copied beside a prediction as it stands

    def roles(self) -> dict[str, str]:
        """Role to name."""
        named = {"text": self.text, "label": self.label, "id": self.id}
        return {role: name for role, name in named.items() if name is not None}


def check_notes(
    path: Path, columns: NoteColumns, *, labels: Set[str] = frozenset(), rows: int = 512
) -> int:
    """Look at every row, `rows` at a time; how many there are.

    Args:
        path: a CSV, TSV, JSON Lines or Parquet file.
        columns: their names.
        labels: that may stand in the label column, where there is one.
        rows: in memory at once.

    Raises:
        CorpusError: all that is wrong.
    """
    roles = columns.roles()
    problems: list[str] = []
    in_rows: dict[str, list[int]] = {}
    in_cells: dict[str, list[int]] = {}
    count, last = 0, Table([], {}, [])
    for last in read_pieces(path, list(roles.values()), rows):
        count += len(last.rows)
        problems += last.problems
        _add(in_rows, last.wrong)
        _add(in_rows, undecodable(last))
        _add(in_cells, _wrong_cells(last, roles, labels))
    if not (count or problems or in_rows):
        problems.append("the table has no rows; predictions need notes")
    last.problems = problems  # by which it is judged whether its first row is a header
    problems = problems + column_problems(last, roles, frozenset())
    if columns.text not in last.names:
        in_cells.clear()  # of no column: that is told already
    if problems or in_rows or in_cells:
        raise CorpusError([*problems, *told(in_rows), *told(in_cells)])
    return count


def _add(wrong: dict[str, list[int]], more: Mapping[str, list[int]]) -> None:
    for rule, rows in more.items():
        wrong.setdefault(rule, []).extend(rows)


def read_notes(path: Path, columns: NoteColumns, rows: int) -> Iterator[Table]:
    """The notes that `check_notes` has looked at, with their cells by role.

    Raises:
        CorpusError: the file has changed since.
    """
    roles = columns.roles()
    for piece in read_pieces(path, list(roles.values()), rows):
        if piece.rows:
            yield Table(piece.names, by_role(piece, roles), piece.rows)


def _wrong_cells(
    piece: Table, roles: Mapping[str, str], labels: Set[str]
) -> Mapping[str, list[int]]:
    cells = by_role(piece, roles)
    cells.setdefault("text", [""] * len(piece.rows))  # JSON Lines may have it further down alone
    wrong = wrong_cells(Table(piece.names, cells, piece.rows))
    unknown = [
        row
        for row, name in zip(piece.rows, cells.get("label", []), strict=False)
        if name.strip() and name not in labels
    ]
    if unknown:
        rule = f"the label is none of the model's {len(labels)}; correct it, or leave out --score"
        wrong[rule] = unknown
    return wrong
