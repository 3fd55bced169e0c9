import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from headhunt.trainables.models.backbones import load_backbone
from headhunt.trainables.notes import features
from headhunt.trainables.notes.cache import DONE, MADE_OF, read_meta
from headhunt.trainables.notes.features import encode_features, fastest_precision, token_lengths
from headhunt.trainables.training.batches import Ragged

from ..backbone_dirs import POSITIONS, WIDTH, make_backbone

CPU = torch.device("cpu")
CANARY = "zyrtexaquine"  # a word that no note of the synthetic corpus has


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture
def backbone(folder, tmp_path):
    return load_backbone(str(folder), tmp_path)


@pytest.fixture(scope="module")
def corpus(small_corpus):
    """Notes of 1 to 30 words, in no order of length, the canary in each."""
    texts = tuple(
        " ".join([CANARY, *text.split()[: place * 7 % 30]])
        for place, text in enumerate(small_corpus.texts)
    )
    return replace(small_corpus, texts=texts, digest="of the cut notes")


def encode(corpus, backbone, cache, *, max_tokens=40, precision="fp32", **options):
    return encode_features(
        corpus,
        backbone,
        cache,
        max_tokens=max_tokens,
        precision=precision,
        device=CPU,
        **options,
    )


def token_ids(backbone, text, limit):
    """A note's ids, cut by hand: the closing token comes after the cut."""
    start, *middle, end = backbone.tokenizer(text)["input_ids"]
    return [start, *middle[: limit - 2], end]


def plain_states(corpus, backbone, limit):
    """Last hidden states of each note alone, without padding: [tokens, width] float32 each."""
    with torch.inference_mode():
        return [
            backbone.model(torch.tensor([token_ids(backbone, text, limit)])).last_hidden_state[0]
            for text in corpus.texts
        ]


def notes_of(path):
    ragged = Ragged.open(path)
    return [ragged.rows[a:b] for a, b in zip(ragged.offsets, ragged.offsets[1:], strict=False)]


def calls_of(model):
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    return calls


def encode_in_process(corpus, folder, cache, together, made):
    """In another process: it wants the same features at the same moment."""
    torch.set_num_threads(1)
    backbone = load_backbone(str(folder), cache)
    together.wait(120)
    made.put(encode(corpus, backbone, cache)[1])


# --- what is stored --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["camembert", "roberta", "bert"])
def test_features_are_the_plain_forward_pass_note_by_note_in_the_corpus_order(
    corpus, tmp_path, kind
):
    backbone = load_backbone(str(make_backbone(tmp_path / kind, kind)), tmp_path)

    path, made = encode(corpus, backbone, tmp_path)

    assert made
    stored = notes_of(path)
    assert len(stored) == len(corpus)
    for states, plain in zip(stored, plain_states(corpus, backbone, 40), strict=True):
        assert states.dtype == torch.float16
        # Half precision keeps 11 bits; the rest is the order of sums in a padded batch.
        torch.testing.assert_close(states.float(), plain, rtol=2**-10, atol=1e-4)


def test_batches_of_many_sizes_give_the_same_features(corpus, backbone, tmp_path, monkeypatch):
    whole = notes_of(encode(corpus, backbone, tmp_path / "whole")[0])
    monkeypatch.setattr(features, "ENCODING_NOTES", 1)

    one_by_one = notes_of(encode(corpus, backbone, tmp_path / "single")[0])

    for one, other in zip(whole, one_by_one, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=2**-9, atol=1e-3)


@pytest.mark.parametrize("limit", [3, 20, 10_000])
def test_offsets_are_sums_of_the_lengths_cut_at_the_limit(
    corpus, backbone, folder, tmp_path, limit
):
    path, _ = encode(corpus, backbone, tmp_path, max_tokens=limit)

    cut = min(limit, POSITIONS - 2)
    lengths = [len(token_ids(backbone, text, cut)) for text in corpus.texts]
    ragged = Ragged.open(path)
    assert ragged.offsets.tolist() == [0, *np.cumsum(lengths)]
    assert ragged.rows.shape == (sum(lengths), WIDTH)
    assert max(lengths) == cut
    assert token_lengths(corpus, str(folder), limit).tolist() == lengths


def test_bf16_features_point_where_fp32_ones_do(corpus, backbone, tmp_path):
    exact, _ = encode(corpus, backbone, tmp_path, precision="fp32")
    fast, _ = encode(corpus, backbone, tmp_path, precision="bf16")

    cosines = torch.cosine_similarity(
        Ragged.open(exact).rows.float(), Ragged.open(fast).rows.float()
    )
    assert fast != exact
    assert cosines.mean() > 0.999


def test_states_beyond_half_precision_are_clamped_and_stay_finite(corpus, tmp_path):
    class Loud(nn.Module):
        def forward(self, input_ids, attention_mask):
            del attention_mask
            signs = torch.where(input_ids % 2 == 0, 1e6, -1e6)
            return SimpleNamespace(last_hidden_state=signs.unsqueeze(-1))

    backbone = load_backbone(str(make_backbone(tmp_path / "tiny")), tmp_path)
    path, _ = encode(corpus, replace(backbone, model=Loud(), width=1), tmp_path)

    assert Ragged.open(path).rows.unique().tolist() == [-65504.0, 65504.0]


def test_meta_says_tokens_width_precision_and_parameters(corpus, backbone, tmp_path):
    path, _ = encode(corpus, backbone, tmp_path)

    assert read_meta(path) == {
        "tokens": len(Ragged.open(path).rows),
        "width": WIDTH,
        "precision": "fp32",
        "parameters": sum(p.numel() for p in backbone.model.parameters()),
    }


def test_progress_rises_to_all_tokens(corpus, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "ENCODING_NOTES", 1)
    told = []

    path, _ = encode(corpus, backbone, tmp_path, progress=lambda *of: told.append(of))

    total = len(Ragged.open(path).rows)
    done = [tokens for tokens, _ in told]
    assert {of for _, of in told} == {total}
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (0, total)
    assert len(done) > 5


# --- once ------------------------------------------------------------------------------------


def test_a_corpus_is_encoded_once(corpus, backbone, tmp_path):
    calls = calls_of(backbone.model)
    first = encode(corpus, backbone, tmp_path)
    once = len(calls)

    again = encode(corpus, backbone, tmp_path)

    assert once > 0
    assert len(calls) == once
    assert (first, again) == ((first[0], True), (first[0], False))


@pytest.mark.parametrize(
    "change",
    ["another text", "another order", "another backbone", "another limit", "another precision"],
)
def test_features_of_something_else_are_not_taken(corpus, backbone, tmp_path, change):
    first, _ = encode(corpus, backbone, tmp_path)

    other, made = {
        "another text": lambda: encode(
            replace(corpus, texts=("other", *corpus.texts[1:])), backbone, tmp_path
        ),
        "another order": lambda: encode(
            replace(corpus, texts=corpus.texts[::-1]), backbone, tmp_path
        ),
        "another backbone": lambda: encode(corpus, replace(backbone, identity="b"), tmp_path),
        "another limit": lambda: encode(corpus, backbone, tmp_path, max_tokens=39),
        "another precision": lambda: encode(corpus, backbone, tmp_path, precision="bf16"),
    }[change]()

    assert made
    assert other != first


def test_features_are_of_the_texts_whatever_their_labels_and_split(corpus, backbone, tmp_path):
    first, _ = encode(corpus, backbone, tmp_path)
    other = replace(
        corpus, labels=corpus.labels[::-1], parts=corpus.parts[::-1], digest="of others"
    )

    assert encode(other, backbone, tmp_path) == (first, False)


def test_a_limit_past_the_encoders_positions_is_the_limit_of_the_positions(
    corpus, backbone, tmp_path
):
    first, _ = encode(corpus, backbone, tmp_path, max_tokens=POSITIONS - 2)

    assert encode(corpus, backbone, tmp_path, max_tokens=512) == (first, False)


def test_two_processes_that_want_the_same_features_encode_once(
    corpus, folder, backbone, tmp_path, spawn
):
    together, made = spawn.Barrier(2), spawn.Queue()
    other = spawn.Process(target=encode_in_process, args=(corpus, folder, tmp_path, together, made))
    other.start()
    together.wait(120)

    here = encode(corpus, backbone, tmp_path)[1]
    there = made.get(timeout=120)
    other.join(60)

    assert here != there


def test_an_encoding_that_was_interrupted_is_not_read_and_goes_on_where_it_was(
    corpus, backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "ENCODING_NOTES", 1)
    monkeypatch.setattr(features, "MARK_SECONDS", -1.0)
    computed: list[int] = []
    plain = features._begin

    def counted(model, tokens, *others):
        computed.append(len(tokens))
        return plain(model, tokens, *others)

    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(features, "_begin", counted)
    cache, other = tmp_path / "cache", tmp_path / "other"
    for folder in (cache, other):
        folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        encode(corpus, backbone, cache, progress=stop)
    first = len(computed)
    assert not list(cache.glob("features-*/"))

    told = []
    path, made = encode(corpus, backbone, cache, progress=lambda done, _: told.append(done))

    whole = sum(computed)
    assert made
    assert whole - len(corpus) == computed[first - 1]  # the batch that was begun, and not written
    assert told == sorted(told)
    expected = Ragged.open(encode(corpus, backbone, other)[0])
    assert torch.equal(Ragged.open(path).rows, expected.rows)
    assert sorted(file.name for file in path.iterdir()) == [
        MADE_OF,
        DONE,
        "offsets.npy",
        "rows.npy",
    ]


# --- confidential ----------------------------------------------------------------------------


def test_file_names_and_files_hold_no_text_of_a_note(corpus, backbone, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()

    path, _ = encode(corpus, backbone, cache)

    assert re.fullmatch(r"features-[0-9a-f]{24}", path.name)
    assert {p.name for p in path.iterdir()} == {"rows.npy", "offsets.npy", DONE, MADE_OF}
    for file in cache.rglob("*"):
        assert CANARY not in file.name
        assert file.is_dir() or CANARY.encode() not in file.read_bytes()


# --- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amx", "avx512", "intel", "expected"),
    [
        (True, True, True, "bf16"),
        (False, True, True, "fp32"),
        (False, True, False, "bf16"),
        (False, False, False, "fp32"),
    ],
)
def test_a_processor_computes_in_bf16_where_its_instructions_are_fast(
    monkeypatch, amx, avx512, intel, expected
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(features, "_is_intel", lambda: intel)

    assert fastest_precision(CPU) == expected


@pytest.mark.parametrize(("capability", "expected"), [((8, 0), "bf16"), ((7, 5), "fp32")])
def test_a_gpu_computes_in_bf16_from_capability_8_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    assert fastest_precision(torch.device("cuda")) == expected


def test_a_mask_token_that_the_encoder_has_no_embedding_of_is_a_gap_in_a_note(
    corpus, backbone, tmp_path
):
    plain, masked = corpus.texts[0], f"{corpus.texts[0]} [MASK]"
    backbone.tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    assert backbone.tokenizer.mask_token_id == backbone.vocabulary
    notes = replace(corpus, texts=(masked, f"{plain}  ", *corpus.texts[2:]), digest="masked")

    folder, _ = encode(notes, backbone, tmp_path)

    found = Ragged.open(folder)
    first, second = (found.rows[found.offsets[n] : found.offsets[n + 1]] for n in (0, 1))
    assert torch.equal(first, second)
