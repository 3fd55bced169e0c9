"""One trial: notes, models, the card, training."""

import os

# Read as torch is imported. By default a thread that waits for its team spins, and on a machine
# that does something else as well it takes the core that the others need (docs/decisions/0029).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
