"""What runs the trials of a plan."""
