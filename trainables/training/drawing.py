"""What several models drop, drawn beforehand: each by its own generator, as it would alone.

A model run with others cannot draw inside: its batch is padded further than its own, and one
generator would serve all. So where it drops, in which order and in which shapes is learned from its
own forward pass on the meta device, and its masks are drawn at the shapes of its own batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.kernels import draw_kept, drop, dropping_by

_NOTES, _TOKENS = -1, -2  # axes that are as long as the batch
_FEW, _MANY = (2, 5), (3, 7)  # notes and tokens of the two passes that tell which axes those are


@dataclass(frozen=True, slots=True)
class Drawn:
    """A batch's masks of every place where somebody drops."""

    kept: list[Tensor]  # each [models, ...] bool, False where a number is dropped
    scales: list[Tensor]  # each [models] float32: what the others are multiplied by


class Drawing:
    """Draws for models of one shape."""

    def __init__(self, models: Sequence[nn.Module], width: int, device: torch.device) -> None:
        """Look at each model's forward pass.

        Args:
            models: on the meta device, alike in all but the shares that they drop.
            width: of a token's state.
            device: of the masks.

        Raises:
            ValueError: an axis of what a model drops is neither notes, tokens nor constant.
        """
        self._axes = _axes(models[0], width)
        shares = [[share for _, share in _recorded(model, *_FEW, width)] for model in models]
        self._shares = list(zip(*shares, strict=True))  # [places][models]
        self._generators = [torch.Generator(device) for _ in models]
        self._device = device
        self._scales = [
            torch.tensor([1 / (1 - share) for share in place], device=device)
            for place in self._shares
            if any(place)
        ]

    def seed(self, seeds: Sequence[int]) -> None:
        """Begin an epoch: one seed a model."""
        for generator, seed in zip(self._generators, seeds, strict=True):
            generator.manual_seed(seed)

    def draw(self, notes: int, tokens: Sequence[int]) -> Drawn:
        """For a batch of so many notes; `tokens` are each model's longest note's."""
        kept = []
        for axes, shares in zip(self._axes, self._shares, strict=True):
            if any(shares):
                shapes = [_shape(axes, notes, own) for own in tokens]
                kept.append(self._masks(_shape(axes, notes, max(tokens)), shapes, shares))
        return Drawn(kept, self._scales)

    def _masks(
        self, padded: tuple[int, ...], shapes: list[tuple[int, ...]], shares: Sequence[float]
    ) -> Tensor:
        masks = torch.ones((len(shapes), *padded), dtype=torch.bool, device=self._device)
        for row, shape, share, generator in zip(
            masks, shapes, shares, self._generators, strict=True
        ):
            if share == 0.0:  # alone, nothing is drawn for it
                continue
            own = draw_kept(shape, share, self._device, generator)
            row[tuple(slice(size) for size in shape)] = own
        return masks

    @contextmanager
    def used(self, kept: list[Tensor], scales: list[Tensor]) -> Iterator[None]:
        """Inside, one model's forward pass drops what was drawn for it, under `vmap`."""
        masks = zip(kept, scales, strict=True)
        drawn = iter([next(masks) if any(shares) else None for shares in self._shares])

        def drawn_before(states: Tensor, _: float) -> Tensor:
            found = next(drawn)
            return states if found is None else drop(states, *found)

        with dropping_by(drawn_before):
            yield


def _axes(model: nn.Module, width: int) -> list[tuple[int, ...]]:
    """Of each place where the model drops: constant sizes, or which axis of the batch it is."""
    pairs = zip(_recorded(model, *_FEW, width), _recorded(model, *_MANY, width), strict=True)
    return [tuple(map(_axis, few, many)) for (few, _), (many, _) in pairs]


def _axis(few: int, many: int) -> int:
    if few == many:
        return few
    if (few, many) == (_FEW[0], _MANY[0]):
        return _NOTES
    if (few, many) == (_FEW[1], _MANY[1]):
        return _TOKENS
    raise ValueError(
        "what heads that train together drop has axes of notes, of tokens or of constant size; got "
        f"one of {few} at (notes, tokens) = {_FEW} and {many} at {_MANY}"
    )


def _shape(axes: tuple[int, ...], notes: int, tokens: int) -> tuple[int, ...]:
    return tuple({_NOTES: notes, _TOKENS: tokens}.get(axis, axis) for axis in axes)


def _recorded(
    model: nn.Module, notes: int, tokens: int, width: int
) -> list[tuple[tuple[int, ...], float]]:
    """Shape and share of each place where the model drops, in the order of its forward pass."""
    seen: list[tuple[tuple[int, ...], float]] = []

    def record(states: Tensor, share: float) -> Tensor:
        seen.append((tuple(states.shape), share))
        return states

    hidden = torch.empty(notes, tokens, width, device="meta")
    mask = torch.empty(notes, tokens, dtype=torch.bool, device="meta")
    with dropping_by(record), torch.no_grad():
        model.train()(hidden, mask)
    return seen
