"""The scratch models' own sub-words: a tokenizer trained on the training part alone.

Byte-pair encoding by the `tokenizers` library, lower-cased, digits one by one so that values do not
fill the vocabulary. The result is confidential: a vocabulary shows words of the notes.
"""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .cache import cache_key, make_once
from .corpus import Corpus, Part

PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[START]"  # ids 0, 1, 2
TOKENIZER_FILE = "tokenizer.json"


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of at most `vocabulary` sub-words, learned from `texts` alone."""
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
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_tokens(corpus: Corpus, cache: Path, *, vocabulary: int, max_tokens: int) -> Path:
    """The folder with the corpus in sub-word ids, made once per (corpus, vocabulary, limit).

    `rows.npy` [tokens] int32 and `offsets.npy` [notes + 1] int64; each note begins with the start
    token, is cut at `max_tokens`, and its tokenizer lies beside it.
    """

    def fill(folder: Path) -> dict[str, object]:
        training = [corpus.texts[i] for i in corpus.indices(Part.TRAIN)]
        tokenizer = train_tokenizer(training, vocabulary)
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

    name = "tokens-" + cache_key(
        corpus=corpus.digest, vocabulary=vocabulary, max_tokens=max_tokens, version=2
    )
    return make_once(cache, name, fill)[0]
