"""What all engines are given, what they give back, and the model as a user would write it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from headhunt.trainables.models.backbones import DEMO, locate
from headhunt.trainables.notes.corpus import Corpus
from headhunt.trainables.notes.split import Part

CPU = torch.device("cpu")
TOKENS, SLOTS = 256, 2


@dataclass(frozen=True, slots=True)
class Problem:
    """The notes and how long to train."""

    notes: Path
    corpus: Corpus
    epochs: int

    def part(self, part: Part) -> np.ndarray:
        """Places of its notes."""
        return self.corpus.indices(part)


@dataclass(frozen=True, slots=True)
class Ran:
    """One engine's run."""

    name: str
    trials: int
    seconds: float  # of all of them, on the wall
    once: float  # of them, before the first trial begins
    best: list[float]  # F1 of each trial at its best epoch

    @property
    def each(self) -> float:
        """Seconds of the wall that a trial added."""
        return (self.seconds - self.once) / self.trials

    def hourly(self, study: int) -> float:
        """Trials an hour in a study of so many, by what one of these cost."""
        return study / (self.once + study * self.each) * 3600


class Adapter(nn.Module):
    """h + W_up gelu(W_down h), the mean over tokens, a classifier."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 64), nn.Linear(64, width)
        self.classifier = nn.Linear(width, classes)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Logits, [notes, classes]."""
        states = hidden + self.up(F.gelu(self.down(hidden)))
        weights = mask.unsqueeze(-1).to(states.dtype)
        return self.classifier((states * weights).sum(1) / weights.sum(1))


class Whole(nn.Module):
    """The frozen encoder with the head on it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(locate(DEMO)).requires_grad_(False)
        self.head = Adapter(self.encoder.config.hidden_size, classes)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Loss and logits, as the Trainer wants them."""
        self.encoder.eval()
        with torch.no_grad():
            hidden = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask
            ).last_hidden_state
        logits = self.head(hidden, attention_mask)
        return {"loss": F.cross_entropy(logits.float(), labels), "logits": logits}
