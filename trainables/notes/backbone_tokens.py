"""The corpus in the token numbers of a pre-trained encoder, for trials that train it.

Made once per (files of the backbone, texts, length limit) in the confidential folder: the numbers
are the notes, in another spelling.
"""

from pathlib import Path

import numpy as np

from ..models.backbones import identity, load_config, load_tokenizer, locate, position_limit
from ..training.batches import Ragged
from .cache import KeyPart, cache_key, make_once
from .corpus import Corpus
from .features import tokenize


def encode_backbone_tokens(corpus: Corpus, backbone: str, cache: Path, *, max_tokens: int) -> Path:
    """The folder with `rows.npy` [tokens] int32 and `offsets.npy` [notes + 1] int64.

    Notes are cut at `max_tokens`, special tokens included. `meta.json` keeps the identity of the
    backbone, so that a worker trains the encoder that the numbers are of.
    """
    config = load_config(backbone)
    limit = min(max_tokens, position_limit(config))
    digest = identity(locate(backbone))

    def fill(folder: Path) -> dict[str, object]:
        ids = tokenize(corpus.texts, load_tokenizer(backbone), limit, int(config.vocab_size))
        offsets = np.concatenate([[0], np.cumsum([len(note) for note in ids])]).astype(np.int64)
        np.save(folder / "rows.npy", np.concatenate([np.asarray(n, np.int32) for n in ids]))
        np.save(folder / "offsets.npy", offsets)
        return {"identity": digest, "tokens": int(offsets[-1])}

    made_of: dict[str, KeyPart] = {
        "backbone": digest,
        "texts_digest": corpus.texts_digest,
        "max_tokens": limit,
        "version": 1,
    }
    name = f"ids-{cache_key(**made_of)}"
    return make_once(cache, name, fill, made_of=made_of, is_sound=Ragged.is_in)[0]
