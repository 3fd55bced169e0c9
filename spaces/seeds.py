"""Where randomness comes from: numbers derived from (study seed, trial, replicate, epoch).

Nothing here draws; it only names streams, so that a resumed trial finds the same ones again.
"""

import hashlib
import json


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) for the stream that `parts` name; different parts, unrelated streams.

    >>> derive_seed(7, "epoch", 3) == derive_seed(7, "epoch", 3)
    True
    >>> derive_seed(7, "epoch", 3) == derive_seed(7, "epoch", 4)
    False
    """
    named = json.dumps(parts, separators=(",", ":")).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "big") >> 1
