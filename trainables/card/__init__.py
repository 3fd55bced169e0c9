"""The emulated card: what fits on it and what it costs."""
