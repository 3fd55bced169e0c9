"""The command line: one file a command, imported when called."""


def main() -> None:
    """Run the command line."""
