"""Files of notes that no corpus can be made of: name of the file, its bytes, what is said."""

import codecs
import io

import pyarrow as pa
import pyarrow.parquet as pq

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


def parquet_of(**columns):
    columns = {
        "text": [f"{SECRET} {i}" for i in range(40)],
        "label": [f"c{i % 2}" for i in range(40)],
        **columns,
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


WORDS = ["train", "val", "test"]

NOTES: dict[str, tuple[str, bytes, list[str]]] = {
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
    "UTF-16 without its mark": (
        "a.csv",
        csv_of(rows()).decode().encode("utf-16-le"),
        ["binary data, a NUL byte in line 1", "save it as text in UTF-8"],
    ),
    "UTF-32": ("a.csv", csv_of(rows()).decode().encode("utf-32"), ["UTF-16", "UTF-8"]),
    "a NUL in a text": (
        "a.csv",
        csv_of(changed(7, f"{SECRET}\0,class 0")),
        ["a NUL byte in line 8"],
    ),
    "a compressed file": ("a.csv", b"\x1f\x8b\x08\0\0\0" + bytes(range(256)), ["binary data"]),
    "a mark and nothing else": ("a.csv", codecs.BOM_UTF8, ["holds white space only"]),
    "a million columns": (
        "a.csv",
        csv_of(rows(), "text,label," + ",".join(map(str, range(1_000_000)))),
        ["more than 10,000 columns", "the right separator?"],
    ),
    "a million keys": (
        "a.jsonl",
        json_of("{" + ",".join(f'"{SECRET}{key}": 1' for key in range(20_000)) + "}"),
        ["more than 10,000 columns"],
    ),
    "a hundred columns, none of them right": (
        "a.csv",
        csv_of(["1," * 99 + "1"], ",".join(f"c{place}" for place in range(100))),
        ["no text column 'text'; the names of its 100 columns are not shown"],
    ),
    "a hundred columns, one of them right": (
        "a.csv",
        csv_of(["1," * 99 + "1"], "label," + ",".join(f"c{place}" for place in range(99))),
        ["no text column 'text'; the file has 'label', ", "'c18' and 80 more"],
    ),
    "a cell without end": (
        "a.csv",
        csv_of(changed(5, f'"{SECRET}' + "\n".join(["x" * 2**20] * 17))),
        ["row 5 (from line 6): the quotes are wrong (field larger than field limit"],
    ),
    "NaN for a label": (
        "a.jsonl",
        json_of(f'{{"text": "{SECRET}", "label": NaN}}'),
        ["row 3: the label is empty"],
    ),
    "NaN among labels that are numbers": (
        "a.parquet",
        parquet_of(label=[float("nan") if i == 7 else float(i % 2) for i in range(40)]),
        ["row 8: the label is empty"],
    ),
    "dates for labels": (
        "a.parquet",
        parquet_of(label=pa.array([i % 2 for i in range(40)], pa.date32())),
        ["column 'label' is of type date32"],
    ),
    "texts that are lists": (
        "a.parquet",
        parquet_of(text=[[SECRET]] * 40),
        ["column 'text' is of type list;"],
    ),
    "a Parquet file that was cut off": (
        "a.parquet",
        parquet_of()[:-20],
        ["a.parquet is no Parquet file, or it is damaged; write it anew"],
    ),
    "a Parquet file with a hole": (
        "a.parquet",
        parquet_of()[:40] + bytes(400) + parquet_of()[440:],
        ["a.parquet is no Parquet file, or it is damaged"],
    ),
    "labels that differ by case": (
        "a.csv",
        csv_of(rows(label=lambda place: ("Class 0", "class 0", "class 1")[place % 3])),
        [
            "labels that differ by case, white space or the code of an accent alone",
            "'Class 0' and 'class 0'; write each class in one way",
        ],
    ),
    "labels that differ by a space": (
        "a.csv",
        csv_of(rows(label=lambda place: ("no", "yes", "yes ")[place % 3])),
        ["'yes' and 'yes '"],
    ),
    "labels that differ by spaces inside": (
        "a.csv",
        csv_of(rows(label=lambda place: ("no", "not sure", "not  sure")[place % 3])),
        ["'not sure' and 'not sure'"],
    ),
    "one label written in another way": (
        "a.csv",
        csv_of(changed(8, f"{SECRET},CLASS 0")),
        ["the class of row 8 and 'class 0'"],
    ),
    "accents of another code": (
        "a.csv",
        csv_of(
            rows(label=lambda place: ("d\u00e9c\u00e8s", "de\u0301ce\u0300s", "vie")[place % 3])
        ),
        ["the code of an accent alone"],
    ),
    "two headers": (
        "a.csv",
        csv_of(["text,label", *rows()]),
        ["the class of row 1 has 1"],
    ),
    "an HTML page": (
        "a.csv",
        f"<!DOCTYPE html>\n<html><body>{SECRET}, log in</body></html>\n".encode(),
        ["no text column 'text'", "the names of its 1 columns are not shown"],
    ),
}
