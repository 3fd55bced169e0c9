"""What may vary in a trial, and what a trial leaves behind."""
