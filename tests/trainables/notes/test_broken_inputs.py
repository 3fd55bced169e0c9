import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headhunt.search.cli.corpus import app
from headhunt.trainables.notes.corpus import Columns, CorpusError, read_corpus

SECRET = "Zwetschgendatschi"  # in every text and patient: no message may hold it
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def rows(count=40, *, label=lambda place: f"class {place % 2}"):
    return [f"{SECRET} number {place} came,{label(place)}" for place in range(count)]


def changed(place, line):
    """Forty sound rows in which row `place`, from 1, is `line`."""
    lines = rows()
    lines[place - 1] = line
    return lines


def csv_of(lines, header="text,label"):
    return ("\n".join([header, *lines]) + "\n").encode()


def json_of(line, place=3):
    lines = [f'{{"text": "{SECRET} {i}", "label": "c{i % 2}"}}' for i in range(40)]
    lines[place - 1] = line
    return "\n".join(lines).encode()


def with_split(word_of):
    return csv_of([f"{row},{word_of(i)}" for i, row in enumerate(rows())], "text,label,split")


WORDS = ["train", "val", "test"]

BROKEN = {
    "an empty file": ("a.csv", b"", ["is empty"]),
    "white space only": ("a.csv", b" \n\n \n", ["holds white space only"]),
    "a header alone": ("a.csv", b"text,label\n", ["the table has no rows"]),
    "an unknown suffix": ("a.docx", b"PK", [".csv, .tsv, .jsonl, .ndjson, .parquet", "'.docx'"]),
    "no suffix": ("notes", csv_of(rows()), ["got ''"]),
    "an image": ("a.csv", PNG, ["is no table: it holds binary data"]),
    "an image called JSON Lines": ("a.jsonl", PNG, ["is no table: it holds binary data"]),
    "an image called Parquet": ("a.parquet", PNG, ["a.parquet is no Parquet file"]),
    "UTF-16": ("a.csv", csv_of(rows()).decode().encode("utf-16"), ["UTF-16", "UTF-8"]),
    "no label column": (
        "a.csv",
        csv_of(rows(), "text,diagnosis"),
        ["no label column 'label'; the file has 'text', 'diagnosis'"],
    ),
    "no header row": (
        "a.csv",
        csv_of(rows()[1:], rows()[0]),
        [
            "no text column 'text'",
            "no label column 'label'",
            "names of its 2 columns are not shown",
        ],
    ),
    "a label column twice": (
        "a.csv",
        csv_of([f"{row},x" for row in rows()], "text,label,label"),
        ["column 'label' is there 2 times"],
    ),
    "a row with too many cells": (
        "a.csv",
        csv_of(changed(7, f"{SECRET},class 0,and more")),
        ["row 7: not the 2 cells of the header row"],
    ),
    "a row with too few cells": ("a.csv", csv_of(changed(9, SECRET)), ["row 9: not the 2 cells"]),
    "a tab file with commas": ("a.tsv", csv_of(rows()), ["no text column 'text'"]),
    "a quote that does not close": (
        "a.csv",
        csv_of(changed(5, f'"{SECRET},class 0')),
        ["row 5 (from line 6): the quotes are wrong"],
    ),
    "text after a closing quote": (
        "a.csv",
        csv_of(changed(5, f'"{SECRET}" {SECRET},class 0')),
        ["row 5 (from line 6): the quotes are wrong"],
    ),
    "Latin-1 in a text": (
        "a.csv",
        csv_of(changed(4, f"{SECRET} é,class 0")).decode().encode("latin-1"),
        ["row 4: column 'text' has bytes that are not UTF-8"],
    ),
    "Latin-1 in a row of many lines": (
        "a.csv",
        csv_of(changed(4, f'"{SECRET}\n\n",class 0')).replace(b"number 7", b"\xe9"),
        ["row 8: column 'text' has bytes that are not UTF-8"],
    ),
    "Latin-1 in a label": (
        "a.csv",
        csv_of(changed(4, f"{SECRET},décès")).decode().encode("latin-1"),
        ["row 4: column 'label' has bytes that are not UTF-8"],
    ),
    "empty texts": (
        "a.csv",
        csv_of([*changed(2, ",class 1"), " ,class 0"]),
        ["rows 2, 41: the text is empty"],
    ),
    "many empty labels": (
        "a.csv",
        csv_of([*rows(), *[f"{SECRET},\t"] * 8]),
        ["rows 41, 42, 43, 44, 45 and 3 more: the label is empty"],
    ),
    "a label that is a text": (
        "a.csv",
        csv_of(changed(6, f"x,{SECRET * 10}")),
        ["row 6: the label is longer than 100 characters"],
    ),
    "texts for labels": (
        "a.csv",
        csv_of(rows(), "label,text"),
        ["40 labels in 40 notes are fewer than three notes a label"],
    ),
    "one class": (
        "a.csv",
        csv_of([f"{SECRET} {place},sick" for place in range(40)]),
        ["all 40 notes have the same"],
    ),
    "a class of two notes": (
        "a.csv",
        csv_of(rows(label=lambda place: "rare" if place > 37 else f"c{place % 2}")),
        ["each class needs three groups of notes", "the class of rows 39, 40 has 2"],
    ),
    "a text in the place of one label": (
        "a.csv",
        csv_of(changed(8, f"class 0,{SECRET} came")),
        ["the class of row 8 has 1"],
    ),
    "a header that runs into a file of wrong quotes": (
        "a.csv",
        csv_of([*rows(), f'"{SECRET}'], f"text,lab{SECRET}"),
        ["row 41 (from line 42)", "no label column 'label'; the names of its 2 columns are not"],
    ),
    "classes of one patient": (
        "a.csv",
        csv_of([f"{row},{SECRET}{i % 2}" for i, row in enumerate(rows())], "text,label,patient_id"),
        ["'class 0' has 1, 'class 1' has 1"],
    ),
    "classes that no split can part": (
        "a.csv",
        csv_of(
            [
                f"{SECRET} {patient}{label},{label},{SECRET}{patient}"
                for patient, labels in enumerate(["abg", "abg", "acg", "bcg", "cg"])
                for label in labels
            ],
            "text,label,patient_id",
        ),
        ["no split was found that puts each class in each part"],
    ),
    "an unknown part": (
        "a.csv",
        with_split(lambda place: SECRET if place == 10 else WORDS[place % 3]),
        ["row 11: the split is none of train, validation, valid, val, dev, test"],
    ),
    "no test part": (
        "a.csv",
        with_split(lambda place: WORDS[place % 2]),
        ["the split column gives no note to test"],
    ),
    "a line that is no JSON": ("a.jsonl", json_of(f'{{"text": "{SECRET}'), ["row 3: no JSON"]),
    "a line that is a list": ("a.jsonl", json_of(f'["{SECRET}", "c0"]'), ["row 3: no JSON object"]),
    "nesting without end": ("a.jsonl", json_of("[" * 200_000), ["row 3: no JSON object"]),
    "a text that is a list": (
        "a.jsonl",
        json_of(f'{{"text": ["{SECRET}"], "label": "c0"}}'),
        ["row 3: column 'text' holds a list or an object"],
    ),
    "a missing key": (
        "a.ndjson",
        json_of(f'{{"text": "{SECRET}"}}'),
        ["row 3: the label is empty"],
    ),
    "JSON null for a label": (
        "a.jsonl",
        json_of(f'{{"text": "{SECRET}", "label": null}}'),
        ["row 3: the label is empty"],
    ),
    "half a surrogate pair": (
        "a.jsonl",
        json_of(f'{{"text": "{SECRET} \\ud83d", "label": "c0"}}'),
        ["row 3: column 'text' has bytes that are not UTF-8"],
    ),
}


def refusal(path, **options):
    with pytest.raises(CorpusError) as caught:
        read_corpus(path, **options)
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_the_row_and_without_its_text(tmp_path, case):
    name, data, said = BROKEN[case]
    path = tmp_path / name
    path.write_bytes(data)

    message = refusal(path)

    for words in said:
        assert words in message
    result = CliRunner().invoke(app, ["check", str(path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "".join(f"error: {line}\n" for line in message.splitlines())


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


def test_a_directory_is_no_corpus(tmp_path):
    assert "is a directory" in refusal(tmp_path)


def test_a_pipe_is_no_corpus(tmp_path):
    os.mkfifo(tmp_path / "a.csv")

    assert "is no regular file" in refusal(tmp_path / "a.csv")


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


def test_parquet_values_that_are_no_text_are_refused_by_column_and_row(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [SECRET.encode() + b"\xff" if i == 4 else f"{SECRET} {i}".encode() for i in range(30)]
    labels = [None if i == 7 else f"c{i % 2}" for i in range(30)]
    columns = {"text": pa.array(texts, pa.binary()), "label": labels, "split": [["train"]] * 30}
    pq.write_table(pa.table(columns), path)

    message = refusal(path)

    assert "row 5: column 'text' has bytes that are not UTF-8" in message
    assert "row 8: the label is empty" in message
    assert "column 'split' is of type list<" in message
