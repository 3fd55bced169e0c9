import csv
import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headhunt.search.cli.corpus import app
from headhunt.trainables.notes.corpus import Columns, CorpusError, Part, read_corpus


def table(labels=("negative", "positive"), *, notes=40, **columns: list[str]):
    """Distinct short notes, labels in turn; a column given by name is added or replaced."""
    made = {
        "text": [f"note {place}" for place in range(notes)],
        "label": [labels[place % len(labels)] for place in range(notes)],
    }
    return made | columns


def write(path, columns, *, separator=",", encoding="utf-8"):
    with path.open("w", encoding=encoding, newline="") as file:
        rows = csv.writer(file, delimiter=separator)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path


def write_as(suffix, folder, columns):
    path = folder / f"notes{suffix}"
    if suffix == ".csv":
        return write(path, columns)
    if suffix == ".tsv":
        return write(path, columns, separator="\t")
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
        return path
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


FORMATS = [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_label_is_the_text_that_stands_in_the_file(tmp_path, suffix):
    names = ("None", "NA", "null", "nan", "01", "1", "1.0", "true")

    corpus = read_corpus(write_as(suffix, tmp_path, table(names, notes=48)))

    assert corpus.label_names == tuple(sorted(names))
    assert [corpus.label_names[code] for code in corpus.labels[:8]] == list(names)


def test_every_format_gives_the_same_corpus(tmp_path):
    columns = table(patient_id=[f"p{place // 2}" for place in range(40)])

    digests = {read_corpus(write_as(suffix, tmp_path, columns)).digest for suffix in FORMATS}

    assert len(digests) == 1


def test_json_numbers_and_truth_values_keep_their_spelling(tmp_path):
    path = tmp_path / "notes.jsonl"
    spellings = ["1.0", "1", "true", '" 2 "', "1e2"]
    path.write_text(
        "".join(f'{{"text": "note {i}", "label": {spellings[i % 5]}}}\n' for i in range(30))
    )

    assert read_corpus(path).label_names == (" 2 ", "1", "1.0", "1e2", "true")


def test_parquet_numbers_truth_values_and_categories_become_text(tmp_path):
    path = tmp_path / "notes.parquet"
    for labels in (
        pa.array([0, 1] * 20),
        pa.array([False, True] * 20),
        pa.array([0.0, 1.0] * 20),
        pa.array(["no", "yes"] * 20).dictionary_encode(),
    ):
        pq.write_table(pa.table({"text": table()["text"], "label": labels}), path)

        names = read_corpus(path).label_names

        assert names in {("0", "1"), ("false", "true"), ("0.0", "1.0"), ("no", "yes")}


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    plain = read_corpus(write(tmp_path / "a.csv", table()))

    marked = read_corpus(write(tmp_path / "b.csv", table(), encoding="utf-8-sig"))

    assert marked.digest == plain.digest


def test_a_text_may_hold_separators_quotes_and_line_breaks(tmp_path):
    texts = [f'Motif, "dyspnée"\nligne {place}\r\n\nfin' for place in range(40)]

    corpus = read_corpus(write(tmp_path / "notes.csv", table(text=texts)))

    assert corpus.texts == tuple(texts)
    assert corpus.rows.tolist() == list(range(1, 41))


def test_blank_lines_between_rows_are_not_counted(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("text,label\n" + "".join(f"note {i},c{i % 2}\n\n" for i in range(20)))

    assert read_corpus(path).rows.tolist() == list(range(1, 21))


def test_a_text_may_be_longer_than_the_csv_module_allows_by_default(tmp_path):
    limit = csv.field_size_limit()
    texts = ["word " * 40_000, *table()["text"][1:]]

    corpus = read_corpus(write(tmp_path / "notes.csv", table(text=texts)))

    assert len(corpus.texts[0]) == 200_000
    assert csv.field_size_limit() == limit


def test_a_csv_of_semicolons_is_read_and_said(tmp_path):
    corpus = read_corpus(write(tmp_path / "notes.csv", table(), separator=";"))

    assert len(corpus) == 40
    assert "read with ';' between the columns, not a comma" in corpus.findings


def test_columns_may_have_other_names(tmp_path):
    patients = [f"p{place // 2}" for place in range(40)]
    columns = {"NOTE": table()["text"], "ICD code": table()["label"], "who": patients}
    path = write(tmp_path / "notes.csv", columns)

    corpus = read_corpus(path, columns=Columns(text="NOTE", label="ICD code", patient="who"))

    assert corpus.patients is not None
    assert corpus.patients[:3] == ("p0", "p0", "p1")


def test_an_unknown_patient_is_a_patient_of_its_own(tmp_path):
    path = write(tmp_path / "notes.csv", table(patient_id=["", " "] * 20))

    corpus = read_corpus(path)

    assert len(corpus.indices(Part.TRAIN)) == 28
    assert "40 notes have no patient; each counts as a patient of its own" in corpus.findings


def test_the_repr_shows_neither_notes_nor_patients(tmp_path):
    patients = [f"Dupont{place // 2}" for place in range(40)]
    corpus = read_corpus(write(tmp_path / "notes.csv", table(patient_id=patients)))

    assert "note 1" not in repr(corpus)
    assert "Dupont" not in repr(corpus)
    assert "positive" in repr(corpus)


def test_the_arrays_are_typed_and_read_only(tmp_path):
    corpus = read_corpus(write(tmp_path / "notes.csv", table()))

    kinds = (corpus.labels.dtype, corpus.parts.dtype, corpus.rows.dtype)
    assert kinds == (np.int64, np.int8, np.int64)
    with pytest.raises(ValueError, match="read-only"):
        corpus.parts[0] = 2


def test_a_corpus_survives_pickling(tmp_path):
    corpus = read_corpus(write(tmp_path / "notes.csv", table()))

    assert pickle.loads(pickle.dumps(corpus)).digest == corpus.digest


@pytest.mark.parametrize(
    "change",
    [
        {"text": ["other", *table()["text"][1:]]},
        {"text": ["note 0n", "ote 1", *table()["text"][2:]]},
        {"label": ["positive", *table()["label"][1:]]},
        {"patient_id": [""] * 40},
        {"patient_id": ["p", *[""] * 39]},
        {"split": ["test", *["train"] * 19, *["val"] * 10, *["test"] * 10]},
    ],
)
def test_the_digest_tells_corpora_apart(tmp_path, change):
    own = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    plain = read_corpus(write(tmp_path / "a.csv", table(split=own)))

    changed = read_corpus(write(tmp_path / "b.csv", table(split=own) | change))

    assert len(plain.digest) == 64
    assert changed.digest != plain.digest
    assert (changed.texts_digest != plain.texts_digest) == ("text" in change)


def test_the_digest_depends_on_the_order_and_not_on_the_file(tmp_path):
    columns = table(split=["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    turned = {name: cells[::-1] for name, cells in columns.items()}
    plain = read_corpus(write(tmp_path / "a.csv", columns))

    assert read_corpus(write(tmp_path / "other.csv", columns)).digest == plain.digest
    other = read_corpus(write(tmp_path / "b.csv", turned))
    assert other.digest != plain.digest
    assert other.texts_digest != plain.texts_digest


def test_conflicting_labels_are_kept_and_said_by_default(tmp_path):
    texts = ["Same text ", "same TEXT", *table()["text"][2:]]

    corpus = read_corpus(write(tmp_path / "notes.csv", table(text=texts)))

    assert len(corpus) == 40
    assert any(said.startswith("2 notes (rows 1, 2) have texts") for said in corpus.findings)


def test_conflicting_labels_are_dropped_on_request_with_all_their_notes(tmp_path):
    texts = ["Same text ", "same TEXT", "again", "same text", "again", *table()["text"][5:]]
    labels = ["a", "b", "a", "a", "a", *["a", "b"] * 17, "b"]
    path = write(tmp_path / "notes.csv", table(text=texts, label=labels))

    corpus = read_corpus(path, conflicting="drop")

    assert corpus.rows[:3].tolist() == [3, 5, 6]
    assert any(said.startswith("3 notes dropped (rows 1, 2, 4)") for said in corpus.findings)


def test_the_files_own_split_is_honoured_whatever_its_spelling(tmp_path):
    words = ["Train", "TRAIN ", "valid", "validation", "val", "Dev", "test", "Test"]

    corpus = read_corpus(write(tmp_path / "notes.csv", table(split=words * 5)))

    assert corpus.parts[:8].tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert "the split is the file's own" in corpus.findings


def test_an_ignored_split_column_has_the_notes_split_anew(tmp_path):
    path = write(tmp_path / "notes.csv", table(split=["no such part"] * 40))

    corpus = read_corpus(path, columns=Columns(split=None))

    assert [len(corpus.indices(part)) for part in Part] == [28, 6, 6]


def test_what_the_files_own_split_shares_between_parts_is_counted(tmp_path):
    parts = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    texts = table()["text"]
    texts[21], texts[35] = "NOTE 0", " note 0"
    patients = ["p0"] * 2 + [f"p{place}" for place in range(2, 38)] + ["p0", "p25"]

    path = write(tmp_path / "notes.csv", table(text=texts, split=parts, patient_id=patients))

    shared = [said for said in read_corpus(path).findings if "more than one part" in said]
    assert shared[0].startswith("1 texts are in more than one part of the file's split; 2 notes")
    assert shared[1].startswith("2 patients are in more than one part of the file's split; 1 notes")


def test_a_class_that_the_files_own_split_leaves_out_is_said(tmp_path):
    parts = ["train", "train", "val", "test"] * 10
    labels = ["a", "b", "b", "b"] * 10

    corpus = read_corpus(write(tmp_path / "notes.csv", table(label=labels, split=parts)))

    said = "the split leaves classes out of a part: 'a' is not in validation, 'a' is not in test"
    assert said in corpus.findings


def test_a_label_that_may_stand_for_a_missing_one_is_a_class_and_said(tmp_path):
    corpus = read_corpus(write(tmp_path / "notes.csv", table(("yes", "NaN", "no", "yes"))))

    assert corpus.label_names == ("NaN", "no", "yes")
    said = "10 notes have the label 'NaN', which may stand for none: it is a class of its own"
    assert said in corpus.findings


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_corpus_check_shows_what_a_search_would_see(tmp_path):
    patients = [f"p{place // 2}" for place in range(40)]
    texts = [*table()["text"][:-1], "word " * 300]

    result = run("check", write(tmp_path / "notes.csv", table(text=texts, patient_id=patients)))

    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert result.stderr == ""
    for line in ("notes 40", "patients 20", "train 28 70.0% 14", "notes longer than 256 1 (2.5%)"):
        assert line in lines
    assert "negative 20 50.0% 50.0% 50.0% 50.0%" in lines
    assert "word" not in result.stdout.replace("words between white space", "")


def test_corpus_check_takes_a_label_for_data_and_not_for_markup(tmp_path):
    result = run("check", write(tmp_path / "notes.csv", table(("[red]a", "\x1b[31mb"))))

    assert "[red]a" in result.stdout
    assert "\x1b" not in result.stdout


def test_corpus_check_says_all_problems_on_standard_error_with_status_2(tmp_path):
    columns = table(text=["", *table()["text"][1:]], split=["train"] * 40)

    result = run("check", write(tmp_path / "notes.csv", columns), "--train-fraction", 0)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 3
    assert "Traceback" not in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_corpus_check_of_an_unusable_backbone_and_corpus_says_both(tmp_path):
    result = run("check", tmp_path / "none.csv", "--backbone", tmp_path / "no-such-folder")

    assert result.exit_code == 2
    assert "no-such-folder" in result.stderr
    assert "none.csv does not exist" in result.stderr


def test_corpus_demo_writes_a_corpus_that_says_it_is_synthetic(tmp_path):
    path = tmp_path / "demo.csv"

    result = run("demo", "-o", path, "--notes", 200, "--seed", 3)

    assert result.exit_code == 0
    assert "200 synthetic notes" in result.stdout
    corpus = read_corpus(path)
    assert len(corpus) == 200
    assert corpus.label_names == ("negative", "positive")
    assert corpus.patients is not None


def test_corpus_demo_overwrites_only_when_forced(tmp_path):
    path = tmp_path / "demo.csv"
    path.write_text("precious")

    refused = run("demo", "-o", path, "--notes", 200)

    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert path.read_text() == "precious"
    assert run("demo", "-o", path, "--notes", 200, "--force").exit_code == 0
    assert path.read_text() != "precious"


@pytest.mark.parametrize("name", ["demo.parquet", "no/such/folder/demo.csv"])
def test_corpus_demo_refuses_a_place_where_it_cannot_write(tmp_path, name):
    result = run("demo", "-o", tmp_path / name, "--notes", 200)

    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)


def test_a_problem_list_is_one_message():
    error = CorpusError(["a", "b"])

    assert (str(error), error.problems) == ("a\nb", ("a", "b"))
