"""The scratch models as a user would write them, from PyTorch's own layers.

The same function of the same weights as `trainables.models.scratch`: what is measured beside ours
is how a model is run, not another model. The experts take their turns, as in most public code.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headhunt.spaces.configs import Pooling, ScratchConfig
from headhunt.trainables.models.scratch import ScratchModel


class PlainModel(nn.Module):
    """Embeddings, post-norm blocks, the mean over tokens, a classifier."""

    def __init__(self, config: ScratchConfig, ours: ScratchModel) -> None:
        """With the weights of ours.

        Raises:
            ValueError: another pooling than the mean.
        """
        if config.pooling is not Pooling.MEAN:
            raise ValueError(f"the plain model pools by the mean; got {config.pooling=}")
        super().__init__()
        classes = ours.classifier.out_features
        known = ours.tokens.weight.detach().clone()
        self.tokens = nn.Embedding.from_pretrained(known, freeze=False)
        self.positions = nn.Parameter(ours.positions.detach().clone())
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.blocks))
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.width, classes)
        self.classifier.load_state_dict(ours.classifier.state_dict())
        for block, own in zip(self.blocks, ours.blocks, strict=True):
            block.load_state_dict(renamed(own.state_dict()))
        self.balance_weight = config.balance_weight

    def forward(
        self, tokens: Tensor, mask: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Logits [notes, classes], and the loss where there are labels."""
        hidden = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        balances = []
        for block in self.blocks:
            hidden, balance = block(hidden, mask)
            balances.append(balance)
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        logits = self.classifier(self.dropout(pooled))
        if labels is None:
            return {"logits": logits}
        loss = F.cross_entropy(logits, labels)
        if isinstance(self.blocks[0].feed_forward, PlainExperts):
            loss = loss + self.balance_weight * torch.stack(balances).sum()
        return {"loss": loss, "logits": logits}


class PlainBlock(nn.Module):
    """LN(h + attention(h)), then LN(h + feed-forward(h))."""

    def __init__(self, config: ScratchConfig) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            config.width, config.attention_heads, batch_first=True
        )
        self.attention_norm = nn.LayerNorm(config.width)
        self.feed_forward = (
            PlainExperts(config) if config.model == "moe" else PlainFeedForward(config)
        )
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map `hidden`, [notes, tokens, width]; and the balance loss, 0 without experts."""
        mixed, _ = self.attention(
            hidden, hidden, hidden, key_padding_mask=~mask, need_weights=False
        )
        hidden = self.attention_norm(hidden + self.dropout(mixed))
        added, balance = self.feed_forward(hidden, mask)
        return self.feed_forward_norm(hidden + self.dropout(added)), balance


class PlainFeedForward(nn.Module):
    """Two layers with a ReLU."""

    def __init__(self, config: ScratchConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.width)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map `hidden`, [notes, tokens, width]."""
        del mask
        return self.down(F.relu(self.up(hidden))), hidden.new_zeros(())


class PlainExperts(nn.Module):
    """Switch routing, expert by expert."""

    def __init__(self, config: ScratchConfig) -> None:
        super().__init__()
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.width, config.feed_forward),
                nn.ReLU(),
                nn.Linear(config.feed_forward, config.width),
            )
            for _ in range(config.experts)
        )
        self.capacity_factor, self.noise = config.capacity_factor, config.router_noise

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Each real token's expert of `hidden`, [notes, tokens, width]."""
        real = mask.flatten()
        states = hidden.flatten(0, 1)[real]
        routed = states
        if self.training and self.noise > 0:
            routed = states * torch.empty_like(states).uniform_(1 - self.noise, 1 + self.noise)
        probabilities = self.router(routed).softmax(dim=-1)
        gate, chosen = probabilities.max(dim=-1)
        found = torch.zeros_like(states)
        most = len(states)
        if self.training:
            most = math.ceil(self.capacity_factor * len(states) / len(self.experts) - 1e-9)
        for number, expert in enumerate(self.experts):
            mine = (chosen == number).nonzero().squeeze(1)[:most]
            found[mine] = expert(states[mine])
        added = torch.zeros_like(hidden.flatten(0, 1))
        added[real] = found * gate.unsqueeze(-1)
        share = F.one_hot(chosen, len(self.experts)).float().mean(dim=0)
        balance = len(self.experts) * (share * probabilities.mean(dim=0)).sum()
        return added.view_as(hidden), balance


def renamed(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """A block's weights under the names of PyTorch's layers; experts one by one."""
    found: dict[str, Tensor] = {}
    names = {
        "attention.project.weight": "attention.in_proj_weight",
        "attention.project.bias": "attention.in_proj_bias",
        "attention.out.weight": "attention.out_proj.weight",
        "attention.out.bias": "attention.out_proj.bias",
    }
    for name, value in ours.items():
        part = name.removeprefix("feed_forward.")
        if name != part and value.ndim == 3:  # [experts, in, out], or [experts, 1, out]
            layer, _, bias = part.partition("_")
            for number, own in enumerate(value):
                key = f"feed_forward.experts.{number}.{'0' if layer == 'up' else '2'}"
                found[f"{key}.{'bias' if bias else 'weight'}"] = own[0] if bias else own.T
        else:
            found[names.get(name, name)] = value
    return found
