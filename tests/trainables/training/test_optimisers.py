"""PyTorch chooses an update's kernels by the device: here they are pinned, as their memory is."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from headhunt.spaces.configs import Optimisation, Optimiser
from headhunt.trainables.training.optimisers import (
    dump_optimiser,
    load_optimiser,
    make_optimiser,
    update,
)

from ..recorded_operations import RecordedOperations

KERNELS = {  # fused, foreach
    Optimiser.ADAMW: (True, False),
    Optimiser.SGD: (None, False),
    Optimiser.ADAFACTOR: (None, False),
}


def made(optimiser, device):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).to(device)
    return model, make_optimiser(model, Optimisation(optimiser=optimiser))


def step(model, optimiser):
    model(torch.ones(2, 4)).sum().backward()
    with RecordedOperations() as recorded:
        update(optimiser)
    return recorded.names


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("optimiser", Optimiser)
def test_the_kernels_of_an_optimiser_are_pinned_on_every_device(optimiser, device):
    _, found = made(optimiser, device)

    assert [(g.get("fused"), g["foreach"]) for g in found.param_groups] == [KERNELS[optimiser]]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("optimiser", Optimiser)
def test_an_update_runs_the_kernels_that_are_pinned(optimiser, resumed):
    model, found = made(optimiser, "cpu")
    if resumed:
        step(model, found)
        stored = dump_optimiser(found, model)
        model, found = made(optimiser, "cpu")
        load_optimiser(found, model, stored)

    names = step(model, found)

    many = [name for name in names if name.startswith(("_fused", "_foreach"))]
    # The fused one counts its steps by a kernel for all of them, which takes no memory.
    assert many == (["_foreach_add_", "_fused_adamw_"] if optimiser is Optimiser.ADAMW else [])


@pytest.mark.parametrize("optimiser", Optimiser)
def test_an_update_frees_the_gradients(optimiser):
    model, found = made(optimiser, "cpu")
    step(model, found)

    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_adamw_takes_the_steps_of_pytorchs_own(frozen):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    twin = deepcopy(model)
    optimisation = Optimisation(learning_rate=0.05, weight_decay=0.1)
    found = make_optimiser(model, optimisation)
    expected = torch.optim.AdamW(twin.parameters(), lr=0.05, weight_decay=0.1, foreach=False)

    for rate in (0.05, 0.02, 0.01):
        given = torch.randn(5, 4)
        for each, optimiser in ((model, found), (twin, expected)):
            optimiser.param_groups[0]["lr"] = rate
            each(given).square().sum().backward()
            if frozen:  # a parameter that no loss reached stays where it is
                list(each.parameters())[1].grad = None
        update(found)
        expected.step()
        expected.zero_grad()

    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()))
