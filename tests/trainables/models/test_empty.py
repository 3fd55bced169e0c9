import subprocess
import sys

import pytest

from headhunt.spaces.configs import HeadConfig, ScratchConfig
from headhunt.spaces.heads import AdapterHead
from headhunt.trainables.models.empty import build_empty


@pytest.mark.parametrize(
    "config",
    [
        ScratchConfig(),
        ScratchConfig(model="moe", experts=4),
        HeadConfig(backbone="any", head=AdapterHead()),
    ],
)
def test_a_network_is_built_and_nothing_is_drawn(config):
    build_empty(config, 256)


def test_numbers_that_do_not_fit_one_another_are_refused():
    with pytest.raises(ValueError, match="width"):
        build_empty(ScratchConfig(width=33, attention_heads=2), 256)


def test_the_compiler_is_not_imported():
    """It takes two seconds of every start."""
    code = (
        "import sys\n"
        "from headhunt.spaces.configs import ScratchConfig\n"
        "from headhunt.trainables.models.empty import build_empty\n"
        "build_empty(ScratchConfig(), 256)\n"
        "print('torch._dynamo' in sys.modules)\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False", said.stderr
