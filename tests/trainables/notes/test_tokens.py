import csv
import re
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from headhunt.trainables.notes.cache import DONE, MADE_OF, read_meta
from headhunt.trainables.notes.corpus import Part, read_corpus
from headhunt.trainables.notes.tokens import (
    PAD,
    SPACE,
    START,
    TOKENIZER_FILE,
    UNKNOWN,
    encode_tokens,
    train_tokenizer,
)
from headhunt.trainables.training.batches import Ragged

CANARIES = {"validation": "zyrtexaquine", "test": "wokplumbax"}  # each in its part alone


def encode(corpus, cache, *, vocabulary=300, max_tokens=24):
    return encode_tokens(corpus, cache, vocabulary=vocabulary, max_tokens=max_tokens)


def notes_of(path):
    ragged = Ragged.open(path)
    return [
        ragged.rows[a:b].tolist() for a, b in zip(ragged.offsets, ragged.offsets[1:], strict=False)
    ]


@pytest.fixture(scope="module")
def split_corpus(small_corpus, tmp_path_factory):
    """The small corpus under its own split, a canary again and again in what is held out."""
    path = tmp_path_factory.mktemp("corpus") / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "split"])
        for text, label, part in zip(
            small_corpus.texts, small_corpus.labels, small_corpus.parts, strict=True
        ):
            name = Part(int(part)).name.lower()
            rows.writerow([f"{CANARIES.get(name, '')} {text}", f"class {label}", name])
    return read_corpus(path)


# --- the tokenizer ---------------------------------------------------------------------------


def test_padding_is_id_0_and_the_special_tokens_come_first():
    tokenizer = train_tokenizer(["dyspnée et dyspnée", "dyspnée"], 50)

    assert [tokenizer.token_to_id(token) for token in (PAD, UNKNOWN, START)] == [0, 1, 2]


def test_a_tokenizer_learns_from_the_training_part_alone(split_corpus, tmp_path):
    path = encode(split_corpus, tmp_path, vocabulary=2000)

    tokenizer = Tokenizer.from_file(str(path / TOKENIZER_FILE))
    for word in CANARIES.values():
        assert len(tokenizer.encode(word).tokens) > 3
    training = [split_corpus.texts[i] for i in split_corpus.indices(Part.TRAIN)]
    assert tokenizer.get_vocab() == train_tokenizer(training, 2000).get_vocab()


def test_a_canary_in_the_training_part_would_be_learned(split_corpus):
    word = CANARIES["test"]

    tokenizer = train_tokenizer([*split_corpus.texts, f"{word} {word} {word}"], 2000)

    assert any(word in token for token in tokenizer.get_vocab())


def test_the_same_notes_give_the_same_tokenizer(split_corpus):
    texts = list(split_corpus.texts)

    assert train_tokenizer(texts, 500).to_str() == train_tokenizer(texts, 500).to_str()


@pytest.mark.parametrize("vocabulary", [100, 300])
def test_a_vocabulary_is_as_large_as_asked_at_most(split_corpus, tmp_path, vocabulary):
    path = encode(split_corpus, tmp_path, vocabulary=vocabulary)

    assert read_meta(path)["vocabulary"] == vocabulary
    assert Ragged.open(path).rows.max() < vocabulary


def test_a_vocabulary_larger_than_the_notes_have_words_for_is_what_they_have(
    split_corpus, tmp_path
):
    size = read_meta(encode(split_corpus, tmp_path, vocabulary=1_000_000))["vocabulary"]

    assert isinstance(size, int)
    assert size < 20_000


def test_no_sub_word_has_two_digits_so_that_values_do_not_fill_the_vocabulary():
    tokenizer = train_tokenizer(["BNP 1250 bnp 1250, 1250 ng/l"] * 3, 500)

    assert [t for t in tokenizer.get_vocab() if sum(c.isdigit() for c in t) > 1] == []


def test_case_and_compatibility_forms_do_not_count():
    tokenizer = train_tokenizer(["bnp élevé à 1250 ng par litre"] * 3, 500)

    assert tokenizer.encode("BNP É").ids == tokenizer.encode("bnp e\N{COMBINING ACUTE ACCENT}").ids


# --- rare words ------------------------------------------------------------------------------

NAME = "wokplumbax"


@pytest.mark.parametrize(("frequency", "learned"), [(1, True), (2, True), (3, False)])
def test_a_word_is_learned_from_where_enough_groups_have_it(frequency, learned):
    texts = [f"{NAME} est stable, {NAME}", f"vu {NAME} stable", "stable ce matin, vu"] * 2
    groups = [0, 1, 2, 0, 1, 3]  # the name is in four notes of two patients

    vocabulary = train_tokenizer(texts, 500, frequency=frequency, groups=groups).get_vocab()

    assert any(token in NAME and len(token) > 2 for token in vocabulary) == learned
    assert any("stable" in token for token in vocabulary)


def test_no_sub_word_is_a_part_of_rare_words_alone(split_corpus):
    groups = split_corpus.groups.tolist()
    texts = [
        f"{text} {NAME}{group % 9}x" for text, group in zip(split_corpus.texts, groups, strict=True)
    ]

    tokenizer = train_tokenizer(texts, 2000, frequency=3, groups=groups)

    seen: dict[str, set[int]] = {}
    for group, text in zip(groups, texts, strict=True):
        for piece in re.findall(r"[^\s\d]+", unicodedata.normalize("NFKC", text).lower()):
            seen.setdefault(piece, set()).add(group)
    frequent = [word for word, owners in seen.items() if len(owners) >= 3]
    for token in tokenizer.get_vocab():
        word = token.strip(SPACE)
        if len(word) > 1 and token not in (PAD, UNKNOWN, START):
            assert any(word in longer for longer in frequent), token


def test_what_is_dropped_joins_nothing():
    texts = ["ab7cd abcd"] * 2 + ["ab1cd", "ab2cd"]

    vocabulary = train_tokenizer(texts, 100, frequency=3, groups=[0, 1, 2, 3]).get_vocab()

    assert "abcd" not in {token.strip(SPACE) for token in vocabulary}


def test_a_frequency_of_one_keeps_everything():
    texts = [f"mot{i} rare" for i in range(20)] * 2

    plain = train_tokenizer(texts, 200)

    assert train_tokenizer(texts, 200, frequency=1, groups=[0] * 40).to_str() == plain.to_str()


def test_a_patients_name_is_in_no_vocabulary_of_a_corpus_whose_frequency_is_two(
    small_corpus, tmp_path
):
    texts = [f"{NAME}{patient[-1]} {t}" for t, patient in named(small_corpus)]
    corpus = replace(small_corpus, texts=tuple(texts), digest="0" * 64)

    with_names, without = (
        encode_tokens(corpus, tmp_path, vocabulary=2000, max_tokens=24, min_document_frequency=n)
        for n in (1, len(set(corpus.groups)))
    )

    assert NAME in (with_names / TOKENIZER_FILE).read_text()
    assert NAME[:6] not in (without / TOKENIZER_FILE).read_text()
    assert with_names != without


def named(corpus):
    assert corpus.patients
    return zip(corpus.texts, corpus.patients, strict=True)


# --- the encoded corpus ----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 24, 100_000])
def test_each_note_is_the_start_token_and_its_own_ids_cut_at_the_limit(
    split_corpus, tmp_path, limit
):
    path = encode(split_corpus, tmp_path, max_tokens=limit)

    tokenizer = Tokenizer.from_file(str(path / TOKENIZER_FILE))
    assert notes_of(path) == [
        [2, *tokenizer.encode(text).ids][:limit] for text in split_corpus.texts
    ]


def test_ids_are_stored_as_32_bit_integers_and_offsets_as_64_bit_ones(split_corpus, tmp_path):
    path = encode(split_corpus, tmp_path)

    ragged = Ragged.open(path)
    assert ragged.rows.dtype == torch.int32
    assert ragged.offsets.dtype == np.int64
    assert read_meta(path)["tokens"] == len(ragged.rows)


def test_tokens_are_made_once(split_corpus, tmp_path, monkeypatch):
    path = encode(split_corpus, tmp_path)
    monkeypatch.setattr("headhunt.trainables.notes.tokens.train_tokenizer", pytest.fail)

    assert encode(split_corpus, tmp_path) == path


@pytest.mark.parametrize("change", [{"vocabulary": 200}, {"max_tokens": 23}])
def test_tokens_of_another_vocabulary_or_limit_are_not_taken(split_corpus, tmp_path, change):
    assert encode(split_corpus, tmp_path) != encode(split_corpus, tmp_path, **change)


def test_file_names_and_meta_hold_no_text_of_a_note(split_corpus, tmp_path):
    path = encode(split_corpus, tmp_path)

    assert re.fullmatch(r"tokens-[0-9a-f]{24}", path.name)
    assert {p.name for p in path.iterdir()} == {
        *("rows.npy", "offsets.npy", TOKENIZER_FILE, DONE, MADE_OF)
    }
    assert all(isinstance(value, int) for value in read_meta(path).values())
