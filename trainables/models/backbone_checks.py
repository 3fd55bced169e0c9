"""Whether a backbone's files can be true, and agree: before anything is built or encoded with them.

What the weights show is found where they are loaded.
"""

from collections.abc import Sequence
from typing import Any

from ...spaces.configs import backbone_label

# Encoders whose positions begin after the padding index.
AFTER_PADDING = frozenset(
    {
        *("roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm"),
        *("data2vec-text", "ibert", "longformer", "mpnet", "xmod"),
    }
)
# Sizes in a config.json, and the least and the most that they may be.
SIZES = {
    "num_hidden_layers": (1, 1_000),
    "num_attention_heads": (1, 10_000),
    "hidden_size": (1, 1_000_000),
    "intermediate_size": (1, 10_000_000),
    "vocab_size": (1, 100_000_000),
    "max_position_embeddings": (8, 100_000_000),  # a search cuts no note to fewer tokens
}
PICKLED = "pytorch_model.bin"
BRING = "Bring the backbone's files once more, or name another one"


class BackboneError(ValueError):
    """A backbone cannot be used; the message says why and how to bring it."""


class AbsentError(BackboneError):
    """Backbones of the hub are not on this machine, and cannot be fetched."""

    def __init__(self, downloads: Sequence[str], why: str) -> None:
        """Say it of all of them at once.

        Args:
            downloads: what `hf download` is told to bring each, its hub id first.
            why: they cannot be fetched here.
        """
        self.downloads, self.why = tuple(downloads), why
        ids = [repr(words.split()[0]) for words in downloads]
        single = len(ids) == 1
        them = f"the backbone {ids[0]} is" if single else f"the backbones {_all_of(ids)} are"
        commands = _all_of([f"`hf download {words}`" for words in downloads])
        it, folder, each = ("it", "the folder", "it") if single else ("them", "the folders", "each")
        super().__init__(
            f"{them} not on this machine, and {why}. Bring {it} where there is a network: "
            f"{commands}, copy {folder} here, and give {each} as `--backbone DIR` (weights in a "
            f"{PICKLED} alone are rewritten once as safetensors, and nothing in them is executed). "
            "Or name another encoder, which is here"
        )


def _all_of(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def refuse_sizes(name: str, config: Any) -> None:
    """Refuse sizes that no encoder has, before anything is built with them."""
    wrong = []
    for field, (least, most) in SIZES.items():
        size = getattr(config, field, least)  # not every architecture calls it so
        if not isinstance(size, int) or not least <= size <= most:
            wrong.append(f"{field}={size!r}, which must be in [{least}, {most:,}]")
    if wrong:
        raise BackboneError(
            f"config.json of the backbone {backbone_label(name)!r} cannot be true: "
            f"{'; '.join(wrong)}. {BRING}"
        )


def refuse_architecture(name: str, config: Any) -> None:
    """Refuse a model_type that counts positions otherwise than the architecture beside it."""
    named = [each.lower() for each in getattr(config, "architectures", None) or ()]
    relatives = tuple(each.replace("-", "") for each in AFTER_PADDING)
    if not named or named[0].startswith(relatives) is (config.model_type in AFTER_PADDING):
        return
    raise BackboneError(
        f"config.json of the backbone {backbone_label(name)!r} says "
        f"model_type={config.model_type!r} and architectures={config.architectures}, which "
        f"count positions differently. {BRING}"
    )


def refuse_tokenizer(name: str, tokenizer: Any, config: Any) -> None:
    """Refuse a tokenizer of words that the encoder has not, or that may leave nothing of a note."""
    ids = set(tokenizer.get_vocab().values()) - {tokenizer.mask_token_id}  # no note is masked
    if max(ids, default=0) >= config.vocab_size:
        raise BackboneError(
            f"the tokenizer of the backbone {backbone_label(name)!r} has {len(ids):,} words, and "
            f"its config.json says vocab_size={config.vocab_size:,}: they are not of one encoder. "
            f"{BRING}"
        )
    if not tokenizer("")["input_ids"]:
        raise BackboneError(
            f"the tokenizer of the backbone {backbone_label(name)!r} puts no token of its own "
            f"around a note, so that of some notes nothing may be left. {BRING}"
        )
