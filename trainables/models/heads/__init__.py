"""The heads, a file each; a new file with a registered class is found by itself."""
