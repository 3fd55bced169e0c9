"""The tokenizer of an exported model: one `tokenizer.json` that cuts, pads and adds what belongs.

The `tokenizers` library alone reads it, whether it came with a backbone or was learned from notes.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from ..notes.tokens import PAD, START
from .description import ArtifactError


def of_backbone(tokenizer: Any, max_tokens: int) -> Tokenizer:
    """A transformers tokenizer's own fast one, which leaves as many tokens of a note."""
    fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    fast.enable_truncation(max_tokens)
    fast.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return fast


def of_scratch_model(file: Path, max_tokens: int) -> Tokenizer:
    """The tokenizer that was learned from notes; a note begins with its start token."""
    learned = Tokenizer.from_file(str(file))
    start = learned.token_to_id(START)
    learned.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, start)]
    )
    learned.enable_truncation(max_tokens)
    learned.enable_padding(pad_id=learned.token_to_id(PAD), pad_token=PAD)
    return learned


def read_tokenizer(file: Path, max_tokens: int, rows: int) -> Tokenizer:
    """The exported one, for texts of any length, without padding.

    Args:
        file: whose checksum is right.
        max_tokens: to which it cuts, whatever it says.
        rows: of the embeddings: its numbers are below.

    Raises:
        ArtifactError: it is no tokenizer, or one of another model.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # the library raises no other; its words may quote the vocabulary
        raise ArtifactError(
            f"{file} is damaged: it is no tokenizer; export the model anew"
        ) from None
    numbers = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    if len(beyond(tokenizer, rows)) > 1 or not numbers:  # of a mask token there may be no row
        raise ArtifactError(
            f"{file} has {len(numbers):,} sub-words and the model {rows:,}: they are not of one "
            "model; export it anew"
        )
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def beyond(tokenizer: Tokenizer, rows: int) -> list[str]:
    """The tokens for which a model of so many embeddings has none."""
    words = tokenizer.get_vocab(with_added_tokens=True)
    return [word for word, number in words.items() if number >= rows]
