"""A head on a backbone's last hidden states, whole: structure, pooling, dropout, classifier.

The backbone itself is not in it: in frozen mode its hidden states come from the feature store.
"""

from torch import Tensor, nn

from ...spaces.configs import HeadConfig
from .heads import structure
from .kernels import Dropout
from .output import Output
from .pooling import Pool


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
        states = self.structure(hidden.float(), mask)
        logits = self.classifier(self.dropout(self.pool(states, mask)))
        return Output(logits, balance_loss=logits.new_zeros(()))
