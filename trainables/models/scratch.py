"""Small Transformers trained from nothing: the plain one, and the one with Switch experts.

Blocks are post-norm, as in the templates that the study probably used: a LayerNorm after each
residual sum, none at the end. Dropout is on what the attention and the feed-forward add, not on
the attention weights. Pre-training and tied weights are left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...spaces.configs import ScratchConfig
from .kernels import Dropout, additive, packed_attention
from .moe import SwitchFeedForward
from .output import Output
from .pooling import Pool

EMBEDDING_DEVIATION = 0.02  # of both embeddings at the start, as in BERT


class ScratchModel(nn.Module):
    """Token and learned position embeddings, blocks, pooling, dropout, classifier."""

    def __init__(
        self, config: ScratchConfig, vocabulary: int, classes: int, max_tokens: int = 256
    ) -> None:
        """Build the model.

        Args:
            config: the trial's choices; its `vocabulary` is the most that the tokenizer may have.
            vocabulary: sub-words that the trained tokenizer has.
            classes: labels.
            max_tokens: tokens of the longest note; positions past it do not exist.

        Raises:
            ValueError: the config's numbers do not fit one another.
        """
        super().__init__()
        _check(config)
        self.max_tokens = max_tokens
        self.tokens = nn.Embedding(vocabulary, config.width)
        self.positions = nn.Parameter(self.tokens.weight.new_empty(max_tokens, config.width))
        nn.init.normal_(self.tokens.weight, std=EMBEDDING_DEVIATION)
        nn.init.normal_(self.positions, std=EMBEDDING_DEVIATION)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.pool = Pool(config.pooling, config.width)
        self.dropout = Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.width, classes)
        self.balance_weight = config.balance_weight

    def forward(self, tokens: Tensor, mask: Tensor) -> Output:
        """Classify notes.

        Args:
            tokens: sub-word numbers, [notes, tokens] int64, real ones first; at padding any number
                in the vocabulary.
            mask: [notes, tokens] bool, True at real tokens.
        """
        length = tokens.shape[1]
        if length > self.max_tokens:
            raise ValueError(
                f"a batch has at most {self.max_tokens=} tokens a note; got {length=}: "
                f"truncate when tokenizing, or build the model with more positions"
            )
        hidden = self.tokens(tokens) + self.positions[:length]
        balances: list[Tensor] = []
        for block in self.blocks:
            hidden, balance = block(hidden, mask)
            if balance is not None:
                balances.append(balance)
        logits = self.classifier(self.dropout(self.pool(hidden, mask)))
        if not balances:
            return Output(logits)
        return Output(logits, self.balance_weight * torch.stack(balances).sum())


class Block(nn.Module):
    """LN(h + attention(h)), then LN(h + feed-forward(h)), the latter plain or Switch."""

    def __init__(self, config: ScratchConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config.width, config.attention_heads)
        self.attention_norm = nn.LayerNorm(config.width)
        self.feed_forward = _feed_forward(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map `hidden`, [notes, tokens, width], and say the balance loss, a scalar or None."""
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, mask)))
        added, balance = self.feed_forward(hidden, mask)
        return self.feed_forward_norm(hidden + self.dropout(added)), balance


class SelfAttention(nn.Module):
    """Multi-head attention among a note's tokens, with its input and output projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Mix `hidden`, [notes, tokens, width], over the keys where `mask` is True."""
        return self.out(packed_attention(self.project(hidden), additive(mask), self.heads))


class FeedForward(nn.Module):
    """The plain network of a block, with the Switch layer's signature."""

    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, feed_forward)
        self.down = nn.Linear(feed_forward, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Map `hidden`, [notes, tokens, width], token by token; there is nothing to balance."""
        del mask
        return self.down(F.relu(self.up(hidden))), None


def _feed_forward(config: ScratchConfig) -> nn.Module:
    if config.model == "transformer":
        return FeedForward(config.width, config.feed_forward)
    return SwitchFeedForward(
        width=config.width,
        feed_forward=config.feed_forward,
        experts=config.experts,
        capacity_factor=config.capacity_factor,
        router_noise=config.router_noise,
    )


def _check(config: ScratchConfig) -> None:
    if config.model not in ("transformer", "moe"):
        raise ValueError(f"a scratch model is transformer or moe; got {config.model=}")
    if config.width % config.attention_heads:
        raise ValueError(
            f"the attention heads share the width evenly; got {config.width=} and "
            f"{config.attention_heads=}: make the width a multiple"
        )
    if config.model == "moe" and not (config.experts >= 2 and config.capacity_factor > 0):
        raise ValueError(
            f"a moe needs experts >= 2 and capacity_factor > 0; got {config.experts=} and "
            f"{config.capacity_factor=}"
        )
