"""Texts through a network: tokenised, sorted by length, in batches, and back in their order."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..models.output import Output
from ..notes.features import ENCODING_NOTES, HALF_MAX, in_batches, without

GPU_NOTES = 64  # of the length limit, in a batch on a GPU: enough to fill one


class OnEncoder(nn.Module):
    """A head on a frozen encoder, whose states it sees as a trial did: in half precision."""

    def __init__(self, encoder: Any, head: nn.Module, precision: str) -> None:
        super().__init__()
        self.encoder, self.head, self.precision = encoder, head, precision

    def forward(self, tokens: Tensor, mask: Tensor) -> Output:
        """Classify notes, under `casts`.

        Args:
            tokens: token numbers, [notes, tokens] int64, real ones first; at padding any number.
            mask: [notes, tokens] bool, True at real tokens.
        """
        ids = tokens.masked_fill(~mask, int(self.encoder.config.pad_token_id or 0))
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        half = states.float().clamp(-HALF_MAX, HALF_MAX).to(torch.float16)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.head(half.float(), mask)

    def casts(self, device: torch.device) -> AbstractContextManager[object]:
        """Held over all batches: autocast casts the encoder's weights once."""
        bf16 = self.precision == "bf16"
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


@dataclass(frozen=True, slots=True)
class TextNetwork:
    """A network with its tokenizer."""

    network: nn.Module  # forward takes (tokens, mask)
    tokenizer: Tokenizer  # cuts, and pads nothing
    device: torch.device
    max_tokens: int  # of a note
    unread: Sequence[str] = ()  # tokens that the network has no embedding of: gaps in a note

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """[notes, classes] float32."""
        for token in self.unread:
            texts = without(texts, token)
        notes = [note.ids for note in self.tokenizer.encode_batch_fast(list(texts))]
        lengths = np.array([len(ids) for ids in notes], dtype=np.int64)
        many = GPU_NOTES if self.device.type == "cuda" else ENCODING_NOTES
        batches = in_batches(lengths, many * self.max_tokens)
        network = self.network
        with network.casts(self.device) if isinstance(network, OnEncoder) else nullcontext():
            found = [self._batch([notes[place] for place in batch]) for batch in batches]
        logits = torch.cat(found).float().cpu().numpy()
        ordered = np.empty_like(logits)
        ordered[np.concatenate(batches)] = logits
        return ordered

    def _batch(self, notes: Sequence[Sequence[int]]) -> Tensor:
        """Logits of a few notes, the longest first: [notes, classes], on the device."""
        lengths = torch.tensor([len(ids) for ids in notes])
        longest = len(notes[0])
        tokens = torch.zeros(len(notes), longest, dtype=torch.int64)
        for row, ids in enumerate(notes):
            tokens[row, : len(ids)] = torch.tensor(ids)
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        return self.network(tokens.to(self.device), mask.to(self.device)).logits
