"""Notes: the corpus, its split, tokens and features."""
