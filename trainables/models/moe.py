"""The Switch feed-forward layer of Fedus et al. 2022: each real token goes to one expert.

Every shape follows from the batch's shape alone, so that the layer traces without data. Padding is
never routed, takes nobody's place and does not count for the capacity or the balance. Experts on
several devices and a second choice for dropped tokens are left out.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Taken off before a ceiling: 1.1 * 100 / 10 is 11, although in floating point it is a little more,
# and CUDA divides by multiplying with the inverse. With it, both ceilings agree on every device.
ROUNDING = 1e-9


class SwitchFeedForward(nn.Module):
    """Top-1 routing to `experts` ReLU networks, in place of a block's one feed-forward network.

    In training an expert takes at most ceil(capacity_factor * real tokens / experts) tokens of the
    batch, in the batch's order; the rest get 0 here and pass through the block's residual. In
    evaluation nothing is dropped: a note's prediction must not depend on its neighbours in a batch.
    """

    def __init__(
        self,
        *,
        width: int,
        feed_forward: int,
        experts: int,
        capacity_factor: float,
        router_noise: float,
    ) -> None:
        super().__init__()
        self.experts = experts
        self.capacity_factor = capacity_factor
        self.router_noise = router_noise
        self.router = nn.Linear(width, experts, bias=False)
        self.up = _uniform(experts, width, feed_forward, fan_in=width)
        self.up_bias = _uniform(experts, 1, feed_forward, fan_in=width)
        self.down = _uniform(experts, feed_forward, width, fan_in=feed_forward)
        self.down_bias = _uniform(experts, 1, width, fan_in=feed_forward)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Send tokens to their experts and back.

        Args:
            hidden: [notes, tokens, width] float32.
            mask: [notes, tokens] bool, True at real tokens.

        Returns:
            What to add to `hidden`, [notes, tokens, width], 0 at padding and at dropped tokens; and
            the unweighted balance loss, a scalar that is 1 under uniform routing.
        """
        states, real = hidden.flatten(0, 1), mask.flatten()  # [all, width], [all]
        probabilities = self._probabilities(states)
        gate, expert = probabilities.max(dim=-1)  # [all], [all]
        chosen = (expert.unsqueeze(-1) == self._numbers(expert)) & real.unsqueeze(-1)

        room = self._most_slots(len(states))
        place = (chosen.cumsum(dim=0) * chosen).sum(dim=-1) - 1  # in its expert's queue, from 0
        kept = real & (place < self._capacity(real))
        # One row more than the experts have: what is not kept is written there, and never read.
        slot = torch.where(kept, expert * room + place, self.experts * room)

        mixed = self._experts(_scatter(states, slot, self.experts * room).unflatten(0, (-1, room)))
        back = F.pad(mixed.flatten(0, 1), (0, 0, 0, 1)).index_select(0, slot)
        return (back * gate.unsqueeze(-1)).view_as(hidden), _balance(probabilities, chosen, real)

    def _probabilities(self, states: Tensor) -> Tensor:
        """Router probabilities, [all, experts], in float32 as the paper's selective precision."""
        states = states.float()
        if self.training and self.router_noise > 0:
            low, high = 1 - self.router_noise, 1 + self.router_noise
            states = states * torch.empty_like(states).uniform_(low, high)
        return self.router(states).softmax(dim=-1)

    def _numbers(self, expert: Tensor) -> Tensor:
        return torch.arange(self.experts, device=expert.device)

    def _most_slots(self, tokens: int) -> int:
        """Rows an expert has in the buffer: the capacity, had the batch no padding."""
        if not self.training:
            return tokens
        return min(tokens, math.ceil(self.capacity_factor * tokens / self.experts - ROUNDING))

    def _capacity(self, real: Tensor) -> Tensor:
        """Tokens that an expert takes: a tensor, as it depends on how many are real."""
        count = real.sum().double()
        if not self.training:
            return count
        return torch.ceil(self.capacity_factor * count / self.experts - ROUNDING)

    def _experts(self, states: Tensor) -> Tensor:
        """Each expert on its own slots, [experts, slots, width] -> [experts, slots, width]."""
        inner = torch.baddbmm(self.up_bias, states, self.up).relu()
        return torch.baddbmm(self.down_bias, inner, self.down)


def _scatter(states: Tensor, slot: Tensor, slots: int) -> Tensor:
    """Rows of `states` at their slots, [slots, width]; empty slots are 0, slot `slots` is cut."""
    buffer = states.new_zeros(slots + 1, states.shape[-1])
    return buffer.index_copy(0, slot, states)[:slots]


def _balance(probabilities: Tensor, chosen: Tensor, real: Tensor) -> Tensor:
    """Switch's equations 4 to 6 without the weight: experts * sum of share * mean probability."""
    count = real.sum()
    share = chosen.sum(dim=0) / count  # [experts], by choice: before any token is dropped
    mean = (probabilities * real.unsqueeze(-1)).sum(dim=0) / count  # [experts]
    return probabilities.shape[-1] * (share * mean).sum()


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Weights as nn.Linear starts them, for experts that are one tensor."""
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
