"""The optimisers that a config may choose, their state on disk, and one update.

PyTorch chooses among kernels by the kind of device, and they differ in memory, so a footprint could
not hold for both: AdamW is fused everywhere, which takes no memory but its state; the others run
parameter by parameter (`foreach=False`).
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.configs import Optimisation, Optimiser
from ..uncompiled import count_as_asked

SGD_MOMENTUM = 0.9

# A second and 60 MB of every worker, and of every footprint.
count_as_asked((torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.zero_grad))


def make_optimiser(model: nn.Module, optimisation: Optimisation) -> torch.optim.Optimizer:
    """The config's optimiser over the parameters that train, and no others."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rate, decay = optimisation.learning_rate, optimisation.weight_decay
    match optimisation.optimiser:
        case Optimiser.ADAMW:
            return FusedAdamW(parameters, lr=rate, weight_decay=decay)
        case Optimiser.SGD:  # its decay is part of the gradient, not decoupled
            return torch.optim.SGD(
                parameters, lr=rate, weight_decay=decay, momentum=SGD_MOMENTUM, foreach=False
            )
        case Optimiser.ADAFACTOR:
            return torch.optim.Adafactor(parameters, lr=rate, weight_decay=decay, foreach=False)


class FusedAdamW(torch.optim.AdamW):
    """AdamW by one kernel for all parameters, with its state from the start.

    PyTorch makes none on the meta device, and sorts the tensors by device and type at every step,
    which takes longer than a small head's update.
    """

    def __init__(self, parameters: list[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, foreach=False)
        self.param_groups[0]["fused"] = True
        for parameter in parameters:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }

    def step(self, closure: Any = None) -> None:
        """Move the parameters that have gradients; there is no closure to call."""
        del closure
        group = self.param_groups[0]
        moved = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not moved:
            return
        states = [self.state[parameter] for parameter in moved]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)  # pyright: ignore[reportPrivateImportUsage]
        torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
            moved,
            [parameter.grad for parameter in moved],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


def update(optimiser: torch.optim.Optimizer) -> None:
    """Take a step and free the gradients, so that the next forward pass need not hold them."""
    # Its body without the wrappers, which would import the compiler too, and call hooks of nobody.
    with torch.no_grad():
        inspect.unwrap(type(optimiser).step)(optimiser)
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def dump_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Moments and steps under the parameters' names: "parameter.state" -> tensor."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimiser(
    optimiser: torch.optim.Optimizer, model: nn.Module, stored: dict[str, Tensor]
) -> None:
    """Put back what `dump_optimiser` took."""
    parameters = dict(model.named_parameters())
    for key, value in stored.items():
        name, state = key.rsplit(".", 1)
        parameter = parameters[name]
        # Steps that no kernel reads stay on the CPU, on whatever device their parameter is.
        fused = optimiser.param_groups[0].get("fused")
        device = parameter.device if fused or state != "step" else value.device
        optimiser.state[parameter][state] = value.clone().to(device)
