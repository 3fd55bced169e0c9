"""What the table of bad input does not show: several problems at once, options beside a file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headhunt.trainables.notes.corpus import Columns, CorpusError, read_corpus

from ...bad_input.notes import SECRET, WORDS, csv_of, rows


def refusal(path, **options):
    with pytest.raises(CorpusError) as caught:
        read_corpus(path, **options)
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_all_problems_are_in_one_message(tmp_path):
    lines = [f"{row},{WORDS[place % 2]}" for place, row in enumerate(rows())]
    lines[2] = " ,class 0,train"
    lines[4] = f"{SECRET},,somewhere"
    lines[6] = SECRET
    (tmp_path / "a.csv").write_bytes(csv_of(lines, "text,label,split"))

    message = refusal(
        tmp_path / "a.csv",
        columns=Columns(patient="who"),
        conflicting="maybe",
        train_fraction=1.5,
    )

    assert [line.split(":")[0].split(";")[0] for line in message.splitlines()] == [
        "conflicting is 'keep' or 'drop'",
        "0 < train_fraction <= 1 must hold",
        "row 7",
        "no patient column 'who'",
        "row 3",
        "row 5",
        "row 5",
        "the split column gives no note to test",
    ]


def test_options_are_refused_together_with_a_file_that_is_not_there(tmp_path):
    message = refusal(tmp_path / "no.csv", train_fraction=0.0)

    assert "got train_fraction=0.0" in message
    assert "no.csv does not exist" in message


def test_a_column_has_one_role(tmp_path):
    (tmp_path / "a.csv").write_bytes(csv_of(rows()))

    assert "each column has one role" in refusal(tmp_path / "a.csv", columns=Columns(label="text"))


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(csv_of(rows()))

    def denied(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", denied)  # root may read every file

    assert "cannot be read: Permission denied" in refusal(path)


def test_a_parquet_file_that_was_cut_off_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [SECRET] * 9, "label": ["a", "b", "c"] * 3}), path)
    path.write_bytes(path.read_bytes()[:-20])

    assert "no Parquet file, or it is damaged" in refusal(path)


def test_a_file_without_a_header_row_shows_neither_its_first_note_nor_its_patient(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{SECRET},calme,P0123\n" * 20, encoding="utf-8")

    message = refusal(path)

    assert "the names of its 3 columns are not shown" in message
    assert "P0123" not in message
    assert "calme" not in message


def test_labels_that_are_the_patients_are_counted_and_not_shown(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"note {i} sur son état,Durand{i // 4},Durand{i // 4}\n" for i in range(40))
    path.write_text(f"text,label,patient_id\n{rows}", encoding="utf-8")

    message = refusal(path)

    assert "none of the 10 labels has notes of three patients, or three texts" in message
    assert "Durand" not in message


def test_parquet_values_that_are_no_text_are_refused_by_column_and_row(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [SECRET.encode() + b"\xff" if i == 4 else f"{SECRET} {i}".encode() for i in range(30)]
    labels = [None if i == 7 else f"c{i % 2}" for i in range(30)]
    columns = {"text": pa.array(texts, pa.binary()), "label": labels, "split": [["train"]] * 30}
    pq.write_table(pa.table(columns), path)

    message = refusal(path)

    assert "row 5: column 'text' has bytes that are not UTF-8" in message
    assert "row 8: the label is empty" in message
    assert "column 'split' is of type list;" in message
