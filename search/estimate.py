"""What a config would need on a card, before there is a study: the footprint of given notes.

Lengths come from the notes where they are given, counted as a search counts them, or from how many
there are and how long they are in the mean.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..spaces.configs import HeadConfig, Mode, Optimisation, ScratchConfig
from ..spaces.record import Footprint
from ..trainables.card.cards import Card
from ..trainables.card.footprint import BackboneShape, Footprinter, Workload
from ..trainables.card.sizing import MOST_NOTES, MOST_TOKENS, largest
from ..trainables.models.backbones import BackboneError, known_config
from ..trainables.notes.corpus import Corpus
from ..trainables.notes.split import Part

SPLIT = (0.7, 0.15)  # training and validation, of notes that are only counted


@dataclass(frozen=True, slots=True)
class Counted:
    """Notes that are not at hand: how many, and how long in the mean."""

    notes: int = 5444  # the study's corpus
    tokens: int = 107  # special tokens included
    classes: int = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A config on a card, and how far it is from the border."""

    config: HeadConfig | ScratchConfig
    card: Card
    footprint: Footprint
    training_notes: int
    asked_tokens: int  # of a note at most
    max_tokens: int  # of the longest note, under that and under what the model can read
    batch_limit: int  # notes of a validation batch
    length_limit: int  # tokens that the model could read
    largest_batch: int  # notes at `max_tokens` that fit, at most MOST_NOTES; 0: none
    largest_tokens: int  # of notes at the config's batch size that fit; 0: none

    @property
    def largest_batch_is_known(self) -> bool:
        """False where larger ones may fit too, and were not tried."""
        return self.largest_batch < MOST_NOTES

    @property
    def fits(self) -> bool:
        """Whether the card holds it."""
        return self.footprint.excess_bytes <= 0


class Estimator:
    """Footprints without a study."""

    def __init__(
        self,
        card: Card,
        notes: Corpus | Counted,
        backbone: str,
        *,
        max_tokens: int,
        batch_limit: int = 8,
    ) -> None:
        """Prepare.

        Args:
            card: whose memory and rates count.
            notes: the corpus, or its size.
            backbone: under the heads; its configuration is enough, unless the notes are given.
            max_tokens: tokens of a note at most.
            batch_limit: notes of a validation batch, as a search has it; a larger training batch
                raises it.

        Raises:
            BackboneError: its configuration, or its tokenizer for given notes, cannot be had.
        """
        self.card, self.notes, self.backbone = card, notes, backbone
        self.max_tokens, self.batch_limit = max_tokens, batch_limit
        self.classes = notes.classes if isinstance(notes, Counted) else len(notes.label_names)
        self._shape = cache(lambda: BackboneShape.of(backbone, known_config(backbone)))
        self._backbone_workload = cache(self._count_backbone_tokens)
        self._scratch_workload = cache(self._count_scratch_tokens)

    def __call__(self, config: HeadConfig | ScratchConfig) -> Estimate:
        """The config's footprint, and the largest batch and length that fit."""
        footprint, batch = self.footprint(config), config.optimisation.batch_size
        asked, limit = self._longest(config), self._length_limit(config)
        excess = self._excess(config, footprint)
        return Estimate(
            config=config,
            card=self.card,
            footprint=footprint,
            training_notes=len(self._workload(config).training),
            asked_tokens=self.max_tokens,
            max_tokens=asked,
            batch_limit=self.batch_limit,
            length_limit=limit,
            largest_batch=largest(lambda n: excess(n, asked), batch, MOST_NOTES),
            largest_tokens=largest(lambda t: excess(batch, t), asked, limit),
        )

    def largest_batch(
        self, config: HeadConfig | ScratchConfig, footprint: Footprint, most: int
    ) -> int:
        """The largest one of at most so many notes that fits; 0 where none does."""
        excess, tokens = self._excess(config, footprint), self._longest(config)
        return largest(lambda n: excess(n, tokens), config.optimisation.batch_size, most)

    def _longest(self, config: HeadConfig | ScratchConfig) -> int:
        """Tokens of the longest note that it is given."""
        longest = self._workload(config).longest
        return min(self.max_tokens, longest, self._length_limit(config))

    def _excess(
        self, config: HeadConfig | ScratchConfig, footprint: Footprint
    ) -> Callable[[int, int], int]:
        """Bytes over the card's limit by notes of a batch and tokens of its longest."""
        known = config.optimisation.batch_size, self._longest(config)
        frozen = isinstance(config, HeadConfig) and config.mode is Mode.FROZEN
        encoding = cache(
            lambda tokens: self._footprinter(config, tokens).encoding_peak_bytes(self.backbone)
        )

        def excess(notes: int, tokens: int) -> int:
            if (notes, tokens) == known:
                return footprint.excess_bytes
            sized = with_batch(config, notes)
            peak = self._footprinter(sized, tokens).training_peak_bytes(sized)
            return max(peak, encoding(tokens) if frozen else 0) - self.card.limit_bytes

        return excess

    def footprint(self, config: HeadConfig | ScratchConfig) -> Footprint:
        """The footprint alone."""
        return cast("Footprint", self._footprinter(config)(config))

    def study_footprinter(self) -> Footprinter:
        """One for many configs, as a study has it: shapes that it met are looked up."""
        return Footprinter(
            self.card,
            classes=self.classes,
            max_tokens=self.max_tokens,
            batch_limit=self.batch_limit,
            backbones={self.backbone: self._shape()},
            backbone_workloads={self.backbone: self._backbone_workload()},
            scratch_workload=self._scratch_workload,
        )

    def _footprinter(
        self, config: HeadConfig | ScratchConfig, tokens: int | None = None
    ) -> Footprinter:
        """For notes as they are, or of this many tokens."""
        heads = isinstance(config, HeadConfig)

        def sized(workload: Workload) -> Workload:
            return workload if tokens is None else replace(workload, limit=tokens)

        def scratch_workload(vocabulary: int) -> tuple[Workload, int]:
            workload, size = self._scratch_workload(vocabulary)
            return sized(workload), size

        return Footprinter(
            self.card,
            classes=self.classes,
            max_tokens=tokens or self.max_tokens,
            batch_limit=max(self.batch_limit, config.optimisation.batch_size),
            backbones={self.backbone: self._shape()} if heads else {},
            backbone_workloads={self.backbone: sized(self._backbone_workload())} if heads else {},
            scratch_workload=scratch_workload,
        )

    def _length_limit(self, config: HeadConfig | ScratchConfig) -> int:
        return self._shape().max_tokens if isinstance(config, HeadConfig) else MOST_TOKENS

    def _workload(self, config: HeadConfig | ScratchConfig) -> Workload:
        if isinstance(config, HeadConfig):
            return self._backbone_workload()
        return self._scratch_workload(config.vocabulary)[0]

    def _count_backbone_tokens(self) -> Workload:
        if isinstance(self.notes, Counted):
            return _counted(self.notes, self.max_tokens)
        from ..trainables.notes.features import token_lengths

        try:
            lengths = token_lengths(self.notes, self.backbone, self.max_tokens)
        except BackboneError as error:
            raise BackboneError(
                f"{error}. The notes are counted by its tokenizer: --note-count and --note-tokens "
                "in the place of --notes need none"
            ) from error
        return _workload(self.notes, lengths)

    def _count_scratch_tokens(self, vocabulary: int) -> tuple[Workload, int]:
        if isinstance(self.notes, Counted):
            return _counted(self.notes, self.max_tokens), vocabulary
        lengths, size = _learned_lengths(self.notes, vocabulary, self.max_tokens)
        return _workload(self.notes, lengths), size


def counted(notes: Corpus, max_tokens: int) -> Counted:
    """How many notes there are, and how long they are in the mean, none more than `max_tokens`.

    A vocabulary that is learned from them stands in for the tokenizer of an encoder that is not
    here.
    """
    lengths, _ = _learned_lengths(notes, ScratchConfig().vocabulary, max_tokens)
    return Counted(len(notes), round(float(lengths.mean())), len(notes.label_names))


def _learned_lengths(notes: Corpus, vocabulary: int, max_tokens: int) -> tuple[np.ndarray, int]:
    """Tokens of each note by a sub-word vocabulary of its own, and the words that this has."""
    from ..trainables.notes.cache import read_meta
    from ..trainables.notes.tokens import encode_tokens
    from ..trainables.training.batches import Ragged

    with tempfile.TemporaryDirectory() as folder:  # confidential: nothing of it stays
        made = encode_tokens(notes, Path(folder), vocabulary=vocabulary, max_tokens=max_tokens)
        return Ragged.open(made).lengths, cast("int", read_meta(made)["vocabulary"])


def with_batch(config: Any, notes: int) -> Any:
    """The config with so many notes in a micro-batch."""
    return replace(config, optimisation=replace(config.optimisation, batch_size=notes))


def _counted(notes: Counted, max_tokens: int) -> Workload:
    lengths = np.full(notes.notes, min(notes.tokens, max_tokens))
    order = np.arange(notes.notes)
    training = max(1, round(SPLIT[0] * notes.notes))
    validation = max(1, round(SPLIT[1] * notes.notes))
    ends = order[:training], order[training - notes.notes :][:validation]
    return Workload(lengths, *ends, limit=max_tokens)  # some note may be as long as that


def _workload(corpus: Corpus, lengths: np.ndarray) -> Workload:
    return Workload(lengths, corpus.indices(Part.TRAIN), corpus.indices(Part.VALIDATION))


def gallery(backbone: str) -> list[HeadConfig | ScratchConfig]:
    """One config of each kind: every head on the frozen backbone, the modes, the scratch models."""
    from ..spaces.heads import HEADS, LinearHead

    plain = HeadConfig(backbone=backbone, head=LinearHead())
    heads = [replace(plain, head=choice.settings()) for choice in HEADS.values()]
    modes = [
        replace(plain, mode=Mode.LAST_K, last_k=2),
        replace(plain, mode=Mode.LORA, lora_rank=8, lora_alpha=16),
        replace(plain, mode=Mode.FULL),
    ]
    few = Optimisation(batch_size=1, accumulation=8)
    modes += [replace(mode, checkpointing=True, optimisation=few) for mode in modes]
    moe = ScratchConfig(model="moe", experts=10, classifier_dropout=0.25)
    return [*heads, *modes, ScratchConfig(), moe]
