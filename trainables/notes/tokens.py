"""The scratch models' own sub-words: a tokenizer trained on the training part alone.

Byte-pair encoding by the `tokenizers` library, lower-cased, digits one by one so that values do not
fill the vocabulary. The result is confidential: a vocabulary shows words of the notes. Words that
few patients share, names among them, can be kept out of it.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ..training.batches import Ragged
from .cache import KeyPart, cache_key, make_once
from .corpus import Corpus, Part

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[START]"  # ids 0, 1, 2
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how a tokenizer writes one
TOKENIZER_FILE = "tokenizer.json"


def train_tokenizer(
    texts: Sequence[str], vocabulary: int, *, frequency: int = 1, groups: Sequence[int] = ()
) -> Tokenizer:
    """A tokenizer of at most `vocabulary` sub-words, learned from `texts` alone.

    Args:
        texts: the notes.
        vocabulary: sub-words at most.
        frequency: a word is learned from only where it is in notes of so many groups.
        groups: of each note; needed where `frequency` is over 1.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, UNKNOWN, START],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without_rare_words(tokenizer, texts, frequency, groups), trainer)
    return tokenizer


def _without_rare_words(
    tokenizer: Tokenizer, texts: Sequence[str], frequency: int, groups: Sequence[int]
) -> list[str]:
    """The texts, of words alone that are in notes of so many groups, as the tokenizer splits them.

    Every sub-word is then a part of such a word.
    """
    if frequency <= 1:
        return list(texts)
    pieces = [_pieces(tokenizer, text) for text in texts]
    seen = {
        (group, _word(piece)) for group, note in zip(groups, pieces, strict=True) for piece in note
    }
    counts = Counter(word for _, word in seen)
    return ["".join(p if counts[_word(p)] >= frequency else SPACE for p in n) for n in pieces]


def _pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """What sub-words are looked for in: words with the space before them, and digits."""
    split = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    return [piece for piece, _ in split]


def _word(piece: str) -> str:
    return piece.strip(SPACE)


def encode_tokens(
    corpus: Corpus,
    cache: Path,
    *,
    vocabulary: int,
    max_tokens: int,
    min_document_frequency: int = 1,
) -> Path:
    """The folder with the corpus in sub-word ids, made once per (corpus, vocabulary, limits).

    `rows.npy` [tokens] int32 and `offsets.npy` [notes + 1] int64; each note begins with the start
    token, is cut at `max_tokens`, and its tokenizer lies beside it. The vocabulary is learned from
    words that are in the training notes of `min_document_frequency` patients (notes, where patients
    are not known) or more.
    """

    def fill(folder: Path) -> dict[str, object]:
        places = corpus.indices(Part.TRAIN)
        tokenizer = train_tokenizer(
            [corpus.texts[i] for i in places],
            vocabulary,
            frequency=min_document_frequency,
            groups=corpus.groups[places].tolist(),
        )
        tokenizer.save(str(folder / TOKENIZER_FILE))
        start = tokenizer.token_to_id(START)
        encoded = [
            np.asarray([start, *note.ids][:max_tokens], dtype=np.int32)
            for note in tokenizer.encode_batch(list(corpus.texts))
        ]
        offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in encoded])]).astype(np.int64)
        np.save(folder / "rows.npy", np.concatenate(encoded))
        np.save(folder / "offsets.npy", offsets)
        return {"vocabulary": tokenizer.get_vocab_size(), "tokens": int(offsets[-1])}

    made_of: dict[str, KeyPart] = {
        "corpus": corpus.digest,
        "vocabulary": vocabulary,
        "max_tokens": max_tokens,
        "min_document_frequency": min_document_frequency,
        "version": 3,
    }
    if corpus.portion:
        made_of["portion"] = corpus.portion
    name = f"tokens-{cache_key(**made_of)}"
    return make_once(cache, name, fill, made_of=made_of, is_sound=Ragged.is_in)[0]
