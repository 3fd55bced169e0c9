"""What was learned: the trials as a frame, and their ranking."""
