"""A head on a backbone's last hidden states, whole: structure, pooling, dropout, classifier.

The backbone itself is not in it: in frozen mode its hidden states come from the feature store.
"""

from torch import Tensor, nn

from ...spaces.configs import HeadConfig, Mode, Pooling, ScratchConfig
from ...spaces.heads import LinearHead
from ..training.batches import Ragged
from .heads import Additive, is_tokenwise, structure
from .kernels import Dropout
from .output import Output
from .pooling import Pool


def fixed_pooling(config: HeadConfig) -> Pooling | None:
    """The pooling of a note's stored states that is all the head reads of them; None: it reads all.

    Such a head trains on one vector a note, which is made once.
    """
    if config.mode is not Mode.FROZEN or config.pooling is Pooling.ATTENTION:
        return None
    first_alone = config.pooling is Pooling.FIRST and is_tokenwise(config.head)
    return config.pooling if first_alone or isinstance(config.head, LinearHead) else None


def as_read(config: HeadConfig | ScratchConfig, stored: Ragged) -> Ragged:
    """The stored notes as the config's network reads them: see `fixed_pooling`."""
    pooling = fixed_pooling(config) if isinstance(config, HeadConfig) else None
    return stored.pooled(pooling) if pooling else stored


class HeadModel(nn.Module):
    """What a trial in frozen mode trains."""

    def __init__(self, width: int, classes: int, config: HeadConfig) -> None:
        super().__init__()
        self.structure = structure(config.head, width)
        self.pool = Pool(config.pooling, width)
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(width, classes)

    def forward(self, hidden: Tensor, mask: Tensor) -> Output:
        """Classify notes.

        Args:
            hidden: last hidden states, [notes, tokens, width]; features stored in half precision
                are widened here.
            mask: [notes, tokens] bool, True at real tokens.
        """
        return Output(self.classifier(self.dropout(self._pooled(hidden.float(), mask))))

    def _pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        head = self.structure
        if isinstance(head, Additive) and head.adds:
            return self.pool.of_sum(hidden, head.inner(hidden, mask), head.up, mask)
        return self.pool(head(hidden, mask), mask)
