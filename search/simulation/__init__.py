"""A study's recorded curves, replayed on a virtual clock."""
