import csv
import json
import tracemalloc

import pytest

from headhunt.trainables.notes.formats import CorpusError
from headhunt.trainables.notes.stream import NoteColumns, check_notes, read_notes


def written(path, texts, **columns):
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", *columns])
        rows.writerows(zip(texts, *columns.values(), strict=True))
    return path


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_pieces_hold_all_rows_in_order_and_never_more_than_asked_for(tmp_path, rows):
    texts = [f"note {place}" for place in range(10)]
    path = written(tmp_path / "a.csv", texts, id=[f"i{place}" for place in range(10)])
    columns = NoteColumns(id="id")

    assert check_notes(path, columns, rows=rows) == 10
    pieces = list(read_notes(path, columns, rows))

    assert max(len(piece.rows) for piece in pieces) <= rows
    assert [text for piece in pieces for text in piece.cells["text"]] == texts
    assert [row for piece in pieces for row in piece.rows] == list(range(1, 11))


def test_all_that_is_wrong_in_all_pieces_is_said_by_rule(tmp_path):
    texts = ["fine", "", "fine", " ", "fine", "fine"]
    path = written(tmp_path / "a.csv", texts, label=["a", "b", "a", "b", "c", "c"])
    columns = NoteColumns(label="label")

    with pytest.raises(CorpusError) as caught:
        check_notes(path, columns, labels=frozenset("ab"), rows=2)

    assert [problem.partition(";")[0] for problem in caught.value.problems] == [
        "rows 2, 4: the text is empty",
        "rows 5, 6: the label is none of the model's 2",
    ]


def test_a_column_that_begins_late_in_json_lines_is_empty_before(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({"x": 1}, {"text": "late"})))

    with pytest.raises(CorpusError, match=r"^row 1: the text is empty"):
        check_notes(path, NoteColumns(), rows=1)


def test_a_long_file_takes_the_memory_of_a_piece(tmp_path):
    path = written(tmp_path / "a.csv", (f"{place} " + "word " * 60 for place in range(20_000)))
    tracemalloc.start()
    try:
        check_notes(path, NoteColumns(), rows=100)
        for _ in read_notes(path, NoteColumns(), 100):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert path.stat().st_size > 6e6
    assert peak < 1e6
