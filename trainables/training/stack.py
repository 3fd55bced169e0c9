"""The numbers of several models of one shape as the rows of one matrix, and one update of them all.

Each model's parameters and its optimiser's state become views of its row, so that it is stored, and
goes on alone, as if it had never been with others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...spaces.configs import Optimiser
from .loop import Training
from .optimisers import update

ALIGNED = 4  # numbers, 16 bytes: where matrix products want their operands to begin
MOMENTS = ("exp_avg", "exp_avg_sq")


class Stack:
    """Models of one shape that take their steps together.

    `leaves` holds them by name, [models, *shape]: what a forward pass under `vmap` reads, and what
    gradients go to.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        """Copy what the models hold into matrices; from then on the models are views of those."""
        self.trainings = trainings
        self.owned = [dict(training.model.named_parameters()) for training in trainings]
        self.layout = _Layout(self.owned[0])
        self.numbers = self.layout.copied(self.owned)
        self.gradients = torch.zeros_like(self.numbers)
        for owned, row in zip(self.owned, self.numbers, strict=True):
            for name, view in self.layout.views(row).items():
                owned[name].data = view
        self._show_gradients()
        views = self.layout.views(self.numbers)
        self.leaves = {name: view.requires_grad_() for name, view in views.items()}
        adamw = trainings[0].optimisation.optimiser is Optimiser.ADAMW
        self._optimiser = _AdamW(trainings, self.owned, self.layout) if adamw else _Each(trainings)

    def _show_gradients(self) -> None:
        """Let each model's parameters have its row of the gradients as theirs."""
        for owned, row in zip(self.owned, self.gradients, strict=True):
            for name, view in self.layout.views(row).items():
                owned[name].grad = view

    def begin_epoch(self, notes: int) -> int:
        """Prepare each model's next epoch over so many notes; its steps."""
        rates = [training.rates(notes) for training in self.trainings]
        self._optimiser.begin_epoch(rates)
        return len(rates[0])

    def update(self, place: int) -> None:
        """Take the epoch's step at `place` by the leaves' gradients, and free those."""
        with torch.no_grad():
            for name, view in self.layout.views(self.gradients).items():
                leaf = self.leaves[name]
                if leaf.grad is not None:
                    view.copy_(leaf.grad)
                leaf.grad = None
            self._optimiser.step(place, self.numbers, self.gradients)


class _Layout:
    """Where in a row each tensor of a model stands."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.width, self._places = 0, dict[str, tuple[slice, torch.Size]]()
        for name, tensor in tensors.items():
            end = self.width + tensor.numel()
            self._places[name] = slice(self.width, end), tensor.shape
            self.width = -(-end // ALIGNED) * ALIGNED

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """[..., width] -> by name, [..., *shape]."""
        return {
            name: rows[..., place].unflatten(-1, shape)
            for name, (place, shape) in self._places.items()
        }

    def copied(self, models: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """[models, width], with zeros between the tensors."""
        first = next(iter(models[0].values()))
        rows = torch.zeros(len(models), self.width, dtype=first.dtype, device=first.device)
        for row, tensors in zip(rows, models, strict=True):
            for name, view in self.views(row).items():
                view.copy_(tensors[name].detach())
        return rows


class _AdamW:
    """AdamW over all rows at once, whatever their rates, decays and steps: ten launches a step."""

    def __init__(
        self,
        trainings: Sequence[Training],
        models: Sequence[Mapping[str, Tensor]],
        layout: _Layout,
    ) -> None:
        states = [
            {name: training.optimiser.state[p] for name, p in owned.items()}
            for training, owned in zip(trainings, models, strict=True)
        ]
        self._moments = [_moved(key, states, layout) for key in MOMENTS]
        self._steps = torch.stack(
            [torch.stack([state["step"] for state in model.values()]) for model in states]
        )  # [models, parameters]
        for model, counts in zip(states, self._steps, strict=True):
            for state, count in zip(model.values(), counts, strict=True):
                state["step"] = count
        groups = [training.optimiser.param_groups[0] for training in trainings]
        self._betas, self._epsilon = groups[0]["betas"], groups[0]["eps"]
        self._decays = np.array([group["weight_decay"] for group in groups])[:, None]
        self._rates = torch.empty(0)

    def begin_epoch(self, rates: list[list[float]]) -> None:
        """What each step multiplies and divides by, [steps, 3, models, 1]."""
        steps = self._steps[:, :1].cpu().double().numpy() + 1 + np.arange(len(rates[0]))
        one, two = (1 - beta**steps for beta in self._betas)
        chosen = np.array(rates)
        factors = np.stack([1 - chosen * self._decays, chosen / one, np.sqrt(two)])
        made = torch.tensor(factors.transpose(2, 0, 1), dtype=torch.float32)
        self._rates = made.unsqueeze(-1).to(self._steps.device)

    def step(self, place: int, numbers: Tensor, gradients: Tensor) -> None:
        """As PyTorch's fused kernel has it."""
        mean, square = self._moments
        kept, size, root = self._rates[place]
        mean.lerp_(gradients, 1 - self._betas[0])
        square.mul_(self._betas[1]).addcmul_(gradients, gradients, value=1 - self._betas[1])
        numbers.mul_(kept).sub_(
            mean.mul(size).div_(square.sqrt().div_(root).add_(self._epsilon)),
        )
        self._steps += 1


def _moved(key: str, states: Sequence[Mapping[str, dict[str, Tensor]]], layout: _Layout) -> Tensor:
    """The models' moments of this name as rows, of which their states become views."""
    rows = layout.copied([{name: state[key] for name, state in model.items()} for model in states])
    for model, row in zip(states, rows, strict=True):
        for name, view in layout.views(row).items():
            model[name][key] = view
    return rows


class _Each:
    """Each model's own optimiser, one after the other."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._trainings = trainings
        self._rates: list[list[float]] = []

    def begin_epoch(self, rates: list[list[float]]) -> None:
        """[models][steps]."""
        self._rates = rates

    def step(self, place: int, numbers: Tensor, gradients: Tensor) -> None:
        """Every one's, by the models' views of these."""
        del numbers, gradients
        for training, rates in zip(self._trainings, self._rates, strict=True):
            shown = [(p, p.grad) for p in training.model.parameters()]
            training.optimiser.param_groups[0]["lr"] = rates[place]
            update(training.optimiser)  # which frees them
            for parameter, gradient in shown:
                parameter.grad = gradient
