"""The command line: one file a command, imported when it is called."""

import importlib
import os
import traceback
from pathlib import Path
from typing import Any

import typer
import typer.core
import typer.main

# command -> (module, what it does): the help is shown without importing any of them
COMMANDS = {
    "demo": ("demo", "Run the main job on a built-in synthetic corpus, on this machine."),
    "search": ("search", "Search for the model with the most F1 per GPU-hour on your notes."),
    "studies": ("studies", "List the studies of the store."),
    "status": ("status", "Show how far a study is."),
    "trials": ("trials", "Write a study's trials, one row each."),
    "rank": ("rank", "Rank a study's complete trials."),
    "compare": ("compare", "Compare a study's models: the best trial of each, and its costs."),
    "report": ("report", "Write what studies have found as one HTML page."),
    "confirm": ("confirm", "Train a study's best trials again, and score them once on test."),
    "simulate": ("simulate", "Compare searches on a study's recorded curves, without training."),
    "dashboard": ("dashboard", "Show a study in Optuna's dashboard, on this machine alone."),
    "footprint": ("footprint", "Show what a model would need on a card, without running it."),
    "export": ("export", "Take a study's model away, as a folder of data."),
    "predict": ("predict", "Predict notes with an exported model."),
    "bundle": ("bundle", "Write a study's results as one file that may be shared."),
    "forget": ("forget", "Remove a study's confidential files; its record stays."),
    "corpus": ("corpus", "Check notes, or write the synthetic corpus."),
}


class _Commands(typer.core.TyperGroup):
    """Finds a command by importing its file."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command's name and summary: enough for a list, without an import."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, when it is called."""
        name, _, rest = super().resolve_command(ctx, args)
        app = importlib.import_module(f".{COMMANDS[str(name)][0]}", __name__).app
        command = typer.main.get_command(app)
        command.name = name
        return name, command, rest


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local variable may be a note
    help="Find the text classifier with the most F1 per GPU-hour on your own clinical notes, "
    "inside the memory of a small card.",
)


@app.callback()
def _root() -> None:
    """Nothing of its own."""


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        app(prog_name="headhunt")
    except Exception as error:
        typer.echo(f"error: {_unforeseen(error)}", err=True)
        raise SystemExit(1) from None


def _unforeseen(error: Exception) -> str:
    """An error that nobody has caught, by its type and where it was: its message could be a note.

    What ends so is a fault of headhunt's, and its developers need the places.
    """
    ours = str(Path(__file__).parents[2])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(ours)]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return (
        f"headhunt failed: {type(error).__name__} at {places}; what it says is not shown, for it "
        "could quote a note. Nothing that ended is lost; please report this line"
    )
