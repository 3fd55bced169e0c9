"""The encoders of BERT, RoBERTa and CamemBERT without weights, for footprints alone.

The same parameters, operations and lifetimes in the same order as transformers' encoders with our
attention, and as peft's additions: a trace of one is a trace of the other, and the tests hold it to
that. It computes nothing; what trains is transformers' own. Why it is here: decision 12.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from .kernels import Dropout, attention_for_transformers

MODEL_TYPES = ("bert", "roberta", "camembert")
# What else a configuration may say of an encoder, and must say to be one of those here.
PLAIN: dict[str, Any] = {
    "hidden_act": "gelu",
    "is_decoder": False,
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "output_hidden_states": False,
    "output_attentions": False,
}
SINGLE = (None, "float32", torch.float32)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes of an encoder, named as in its config.json."""

    model_type: str
    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    pad_token_id: int = 1
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1


def geometry_of(values: Mapping[str, Any]) -> Geometry | None:
    """Of a configuration's values; None where it is not one of the encoders here."""
    names = [entry.name for entry in fields(Geometry)]
    if (
        values.get("model_type") not in MODEL_TYPES
        or any(values.get(name, plain) != plain for name, plain in PLAIN.items())
        or any(values.get(name) not in SINGLE for name in ("dtype", "torch_dtype"))
        or "quantization_config" in values
        or not all(isinstance(values.get(name), int | float) for name in names[1:])
        or values["num_attention_heads"] < 1
        or values["hidden_size"] % values["num_attention_heads"]
    ):
        return None
    return Geometry(**{name: values[name] for name in names})


class Skeleton(nn.Module):
    """An encoder; of transformers' interface it has what `finetuned` asks for.

    Of alike layers in a row there are the first, the last, and one for all between them.
    """

    gradient_checkpointing = False

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry, self.depth = geometry, geometry.num_hidden_layers
        self.config: Any = SimpleNamespace(
            **{entry.name: getattr(geometry, entry.name) for entry in fields(geometry)}
        )
        self.embeddings = _Embeddings(geometry)
        self._lay(self.depth)

    def _lay(self, *rows: int) -> None:
        """Layers for rows of so many that are alike."""
        self.layers = nn.ModuleList(layer for row in rows for layer in self._row(row))
        self.config.num_hidden_layers = len(self.layers)

    def _row(self, count: int) -> "list[_Layer]":
        kept = [_Layer(self.geometry) for _ in range(min(count, 3))]
        if count > 3:
            kept[1].copies = count - 2
        return kept

    def kept(self) -> "list[_Layer]":
        """The layers that there are."""
        return cast("list[_Layer]", list(self.layers))

    def shorten(self) -> None:
        """Let one layer stand for all but the first of a row: enough where work alone counts."""
        kept: list[_Layer] = []
        layers = iter(self.kept())
        for layer in layers:
            kept.append(layer)
            if layer.copies > 1:
                next(layers)  # its row's last
                layer.copies += 1
        self.layers = nn.ModuleList(kept)
        self.config.num_hidden_layers = len(kept)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Map token numbers and their mask, both [notes, tokens] int64, to last hidden states."""
        embedded = self.embeddings(input_ids)
        mask = _additive(attention_mask, embedded)
        return SimpleNamespace(last_hidden_state=self._run(embedded, mask))

    def _run(self, hidden: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden

    def activation_checkpointing_enable(self, settings: Mapping[str, Any]) -> None:
        """Every layer that trains keeps its inputs alone; `settings` are those of `finetuned`."""
        del settings
        for module in (self, *self.kept()):
            module.gradient_checkpointing = True

    def disable_input_require_grads(self) -> None:
        """They never do here."""

    def add_low_rank(self, rank: int) -> "Skeleton":
        """LoRA on queries and values, in place; nothing else trains."""
        self.requires_grad_(False)
        for layer in self.kept():
            attention = layer.attention.inner
            width = self.geometry.hidden_size
            attention.query = _LowRank(attention.query, width, rank)
            attention.value = _LowRank(attention.value, width, rank)
        return self

    def train_last(self, count: int) -> "Skeleton":
        """Only so many layers train, in place."""
        self._lay(self.depth - count, count)
        self.requires_grad_(False)
        for layer in self.kept()[min(self.depth - count, 3) :]:
            layer.requires_grad_(True)
        return self


class _Embeddings(nn.Module):
    numbers: Tensor  # of the positions, as a BERT takes them
    zeros: Tensor  # the kind of each token

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width, positions = geometry.hidden_size, geometry.max_position_embeddings
        padding = geometry.pad_token_id
        # RoBERTa counts positions from behind the padding's number, where the note is not padding.
        self.padding = None if geometry.model_type == "bert" else padding
        self.words = nn.Embedding(geometry.vocab_size, width, padding_idx=padding)
        if self.padding is None:
            self.positions = nn.Embedding(positions, width)
        self.kinds = nn.Embedding(geometry.type_vocab_size, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(geometry.hidden_dropout_prob)
        self.register_buffer("numbers", torch.arange(positions).expand((1, -1)))
        self.register_buffer("zeros", torch.zeros((1, positions), dtype=torch.long))
        if self.padding is not None:
            self.positions = nn.Embedding(positions, width, padding_idx=padding)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self._places(tokens)
        zeros = self.zeros.expand(places.shape[0], -1)
        zeros = torch.gather(zeros, dim=1, index=places)
        words = self.words(tokens)
        kinds = self.kinds(zeros.expand(*tokens.shape))
        hidden = words + kinds
        positions = self.positions(places)
        hidden = hidden + positions
        hidden = self.norm(hidden)
        return self.dropout(hidden)

    def _places(self, tokens: Tensor) -> Tensor:
        if self.padding is None:
            return self.numbers[:, 0 : tokens.shape[1]]
        mask = tokens.ne(self.padding).int()
        counted = (torch.cumsum(mask, dim=1).type_as(mask) + 0) * mask
        return counted.long() + self.padding


class _Layer(nn.Module):
    gradient_checkpointing = False
    copies = 1  # layers that it stands for

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width, share = geometry.hidden_size, geometry.hidden_dropout_prob
        self.attention = _Attention(geometry)
        self.up = nn.Linear(width, geometry.intermediate_size)
        self.output = _Added(geometry.intermediate_size, width, share)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return recomputed(self._run, hidden, mask)
        return self._run(hidden, mask)

    def _run(self, hidden: Tensor, mask: Tensor) -> Tensor:
        attended = self.attention(hidden, mask)
        return self._feed_forward(attended)

    def _feed_forward(self, attended: Tensor) -> Tensor:
        inner = F.gelu(self.up(attended))
        return self.output(inner, attended)


class _Attention(nn.Module):
    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width = geometry.hidden_size
        self.inner = _SelfAttention(geometry)
        self.output = _Added(width, width, geometry.hidden_dropout_prob)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        mixed = self.inner(hidden, mask)
        return self.output(mixed, hidden)


class _SelfAttention(nn.Module):
    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width = geometry.hidden_size
        self.width = width // geometry.num_attention_heads  # of a head
        self.dropout = geometry.attention_probs_dropout_prob
        self.query: nn.Module = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value: nn.Module = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        shape = (*hidden.shape[:-1], -1, self.width)
        query = self.query(hidden).view(*shape).transpose(1, 2)
        key = self.key(hidden).view(*shape).transpose(1, 2)
        value = self.value(hidden).view(*shape).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        mixed, _ = attention_for_transformers(self, query, key, value, mask, dropout=dropout)
        return mixed.reshape(*hidden.shape[:-1], -1).contiguous()


class _Added(nn.Module):
    """LN(dropout(W x) + h)."""

    def __init__(self, inside: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inside, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, added: Tensor, hidden: Tensor) -> Tensor:
        added = self.dense(added)
        added = self.dropout(added)
        return self.norm(added + hidden)


class _LowRank(nn.Module):
    """peft's LoRA on a linear layer, without dropout."""

    def __init__(self, base: nn.Module, width: int, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        result = self.base(hidden)
        return result + self.up(self.down(hidden)) * 2.0


def _additive(attention_mask: Tensor, states: Tensor) -> Tensor:
    """As transformers makes it: 0 at real tokens, [notes, 1, tokens, tokens]."""
    seen = _seen(attention_mask.to(torch.bool), states)
    return torch.where(
        seen, torch.zeros((), dtype=states.dtype, device=seen.device), torch.finfo(states.dtype).min
    )


def _seen(padding: Tensor, states: Tensor) -> Tensor:
    bool(padding.all())  # it is asked, and the answer not used
    notes, tokens = states.shape[:2]
    device = states.device
    note, head = torch.arange(notes, device=device), torch.arange(1, device=device)
    query, key = torch.arange(tokens, device=device) + 0, torch.arange(tokens, device=device) + 0
    del head
    seen = query.new_ones((), dtype=torch.bool)
    seen = seen & (query[None, None, :, None] >= 0)
    seen = seen & padding[note[:, None, None, None], key[None, None, None, :]]
    return seen.expand(notes, -1, tokens, tokens)


RNG_STATE_BYTES = 5056  # of the CPU's generator; a GPU's is smaller


class _Holder:
    """In the place of a tensor that the backward pass will want."""

    tensor: Tensor | None = None


class _AllRecomputed(Exception):
    """No error: what is wanted is there."""


def recomputed(run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`run`, keeping its inputs alone: torch.utils.checkpoint's way without reentrance.

    Written out because that one imports PyTorch's compiler.
    """
    random_state = inputs[0].new_empty(RNG_STATE_BYTES, dtype=torch.uint8)
    holders: list[weakref.ref[_Holder]] = []
    finished = False

    def leave(tensor: Tensor) -> _Holder:
        del tensor
        holder = _Holder()
        holders.append(weakref.ref(holder))
        return holder

    def recompute(_kept: Tensor = random_state) -> None:
        places = iter(holders)
        left = len(holders)

        def keep(tensor: Tensor) -> Tensor:
            nonlocal left
            tensor = tensor.detach() if tensor.requires_grad else tensor
            left -= 1
            if (holder := next(places)()) is not None:
                holder.tensor = tensor
            if left == 0:
                raise _AllRecomputed
            return tensor

        try:
            with saved_tensors_hooks(keep, lambda kept: kept), torch.enable_grad():
                run(*inputs)
        except _AllRecomputed:
            pass

    def fetch(holder: _Holder) -> Any:
        nonlocal finished
        if not finished:
            recompute()
            finished = True
        tensor, holder.tensor = holder.tensor, None
        return tensor

    with saved_tensors_hooks(leave, fetch):
        return run(*inputs)
