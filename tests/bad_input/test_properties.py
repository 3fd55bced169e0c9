"""Whatever the bytes of a file and whatever the numbers of the options: sound, or one message."""

import csv
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from headhunt.search.cli import app
from headhunt.search.launch import LaunchError, prepare
from headhunt.search.plan import Budget
from headhunt.search.settings import Request
from headhunt.trainables.notes.corpus import CorpusError, read_corpus

from .notes import SECRET, csv_of, json_of, parquet_of, rows

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
TSV = csv_of(rows()).replace(b",", b"\t")
SOUND = {
    ".csv": csv_of(rows()),
    ".tsv": TSV,
    ".jsonl": json_of('{"text": "x", "label": "c0"}'),
    ".ndjson": json_of('{"text": "x", "label": "c0"}'),
    ".parquet": parquet_of(),
}
FRAGMENTS = ["text", "label", "split", "patient_id", "train", "a", ",", ";", "\t", '"', "\n", "\r"]
FRAGMENTS += ["{", "}", "[", "]", ":", "null", "NaN", "1e999", "\\u0000", "\\ud800", " ", "é", "\0"]


def of(examples):
    """The same examples each time, so many of them."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def read(path, data):
    """The corpus of these bytes, or None where they are refused as they should be."""
    path.write_bytes(data)
    try:
        return read_corpus(path)
    except CorpusError as error:
        message = str(error)
    assert message
    assert SECRET not in message
    assert len(message) < 3_000
    return None


@of(200)
@given(
    suffix=st.sampled_from(SUFFIXES),
    data=st.binary(max_size=200)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=60).map(lambda parts: "".join(parts).encode()),
)
def test_any_bytes_are_a_corpus_or_are_refused(tmp_path, suffix, data):
    corpus = read(tmp_path / f"notes{suffix}", data)

    assert corpus is None or len(corpus) >= 6  # two classes, each in three parts


@of(200)
@given(suffix=st.sampled_from(SUFFIXES), draw=st.data())
def test_a_damaged_file_is_a_corpus_or_is_refused(tmp_path, suffix, draw):
    sound = SOUND[suffix]
    begin = draw.draw(st.integers(0, len(sound)))
    end = draw.draw(st.integers(begin, min(len(sound), begin + 40)))
    there = draw.draw(st.binary(max_size=20) | st.sampled_from([p.encode() for p in FRAGMENTS]))

    read(tmp_path / f"notes{suffix}", sound[:begin] + there + sound[end:])


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
LABEL = st.sampled_from(["0", "1.0", "NA", "décès", "a,b", 'so "called"', " led", "#", "{}", "=1"])


def write(path, texts, labels):
    columns = {"text": texts, "label": labels}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix in (".jsonl", ".ndjson"):
        lines = (json.dumps({"text": t, "label": v}) for t, v in zip(texts, labels, strict=True))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerow(columns)
            writer.writerows(zip(texts, labels, strict=True))


@of(60)
@given(
    suffix=st.sampled_from(SUFFIXES),
    names=st.lists(LABEL, min_size=2, max_size=4, unique=True),
    texts=st.lists(TEXT, min_size=16, max_size=24),
)
def test_what_is_written_is_what_is_read(tmp_path, suffix, names, texts):
    texts = [f"{place}{text}" for place, text in enumerate(texts)]
    labels = [names[place % len(names)] for place in range(len(texts))]
    assume(len({text.strip().casefold() for text in texts}) == len(texts))
    path = tmp_path / f"notes{suffix}"
    write(path, texts, labels)

    corpus = read_corpus(path)

    assert list(corpus.texts) == texts
    assert [corpus.label_names[code] for code in corpus.labels] == labels


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_and_the_ends_of_lines_change_nothing(tmp_path, ending, mark):
    text = csv_of([f'"{SECRET}\n{place}",c{place % 2}' for place in range(20)]).decode()
    plain = read(tmp_path / "plain.csv", text.encode())
    outside = (
        text.replace(f"{SECRET}\n", "HELD").replace("\n", ending).replace("HELD", f"{SECRET}\n")
    )

    other = read(tmp_path / "other.csv", (mark + outside).encode())

    assert plain is not None
    assert other is not None
    assert other.digest == plain.digest


# --- options --------------------------------------------------------------------------------------

WHOLE = st.integers(-5, 50) | st.integers() | st.sampled_from([2**31, 2**63, 10**400])
NUMBER = st.floats() | WHOLE.filter(lambda value: abs(value) < 2**63).map(float)
WRITTEN = (
    WHOLE.map(str)
    | st.floats().map(repr)
    | st.sampled_from(["", "-", "1e3", "0x10", "1_000", "٣", "²", "9" * 5000, "1,5", "NaN%"])
)
SEARCH_OPTIONS = ["trials", "slots", "together", "seed", "max-epochs", "patience", "batch-limit"]
SEARCH_OPTIONS += ["max-tokens", "card-hours", "gpu-hours", "wall-hours", "stop-margin"]
SEARCH_OPTIONS += ["train-fraction"]
NUMBERS = ["max_epochs", "patience", "batch_limit", "max_tokens", "seed"]
COUNT_OPTIONS = ["batch-size", "accumulation", "max-tokens", "batch-limit", "epochs", "note-count"]
COUNT_OPTIONS += ["note-tokens", "classes"]


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    path = tmp_path_factory.mktemp("notes") / "notes.csv"
    path.write_bytes(csv_of(rows(30)))
    return path


def invoke(words, options, values):
    given_words = [f"--{name}={value}" for name, value in zip(options, values, strict=False)]
    result = CliRunner().invoke(app, [*words, *given_words])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


@of(60)
@given(options=st.permutations(SEARCH_OPTIONS), values=st.lists(WRITTEN, max_size=4))
@example(options=["trials"], values=["9" * 5000])
def test_any_numbers_beside_an_unknown_space_end_a_search_with_2(notes, options, values):
    words = ["search", str(notes), "--study", "new", "--space", "nowhere"]

    result = invoke([*words, "--store", str(notes.parent / "store")], options, values)

    assert result.exit_code == 2
    assert not (notes.parent / "store").exists()


@of(30)
@given(
    asked=st.fixed_dictionaries(
        {}, optional={**dict.fromkeys(NUMBERS, WHOLE), "train_fraction": NUMBER}
    ),
    budget=st.builds(
        Budget, trials=st.none() | WHOLE, wall_hours=st.none() | NUMBER, stop_margin=st.none()
    ),
    slots=st.none() | WHOLE,
    space=st.just("baselines"),
)
@example({"max_epochs": 9, "seed": 7, "max_tokens": 64}, Budget(trials=3), 2, "scratch")
@example({"max_tokens": 2**63, "batch_limit": 2**63}, Budget(), None, "scratch")
@example({"max_epochs": 100_000, "batch_limit": 100_000}, Budget(trials=10**9), None, "scratch")
def test_any_numbers_make_a_study_or_are_refused(notes, asked, budget, slots, space):
    store = notes.parent / "made"
    request = Request(
        notes=notes,
        study="new",
        store=store,
        given={"space": space, **asked},
        budget=budget,
        slots=slots,
    )
    try:
        prepare(request).study.close()
        shutil.rmtree(store)
        problems = ["none"]
    except LaunchError as error:
        problems = error.problems
    assert problems
    assert max(map(len, problems)) < 300
    assert not store.exists()


@of(15)
@given(options=st.permutations(COUNT_OPTIONS), values=st.lists(WRITTEN, max_size=2))
def test_any_numbers_have_a_footprint_or_are_refused(options, values):
    result = invoke(["footprint", "linear"], options, values)

    assert result.exit_code in (0, 2)
    assert (result.stdout == "") is (result.exit_code == 2)
