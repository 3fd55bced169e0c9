"""One trial: notes, models, the card, training."""
