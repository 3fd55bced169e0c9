"""Faults of every stage whose messages quote notes, for the processes of a lab.

Each is the text of a `sitecustomize.py`: it wraps one of our functions when its module is imported,
in the driver and in Ray's workers, so that it fails as a library would that shows what it is given.
"""

_WRAP = """
import importlib.abc
import importlib.util
import os
import pathlib
import sys

class Wrapper(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def execute_and_wrap(module):
            execute(module)
            holder = getattr(module, CLASS) if CLASS else module
            setattr(holder, FUNCTION, wrap(getattr(holder, FUNCTION)))
        spec.loader.exec_module = execute_and_wrap
        return spec

sys.meta_path.insert(0, Wrapper())
"""


def _fault(module: str, function: str, body: str) -> str:
    """The wrapped function has the plain one as `plain`, and is called with `args` and `named`."""
    holder, _, name = function.rpartition(".")
    wrapped = "".join(f"        {line}\n" for line in body.strip().splitlines())
    return (
        f"MODULE, CLASS, FUNCTION = {f'headhunt.{module}'!r}, {holder!r}, {name!r}\n{_WRAP}\n"
        f"def wrap(plain):\n    def wrapped(*args, **named):\n{wrapped}    return wrapped\n"
    )


READING = _fault(
    "trainables.notes.corpus", "read_corpus", "raise RuntimeError(plain(*args, **named).texts[0])"
)
TOKENISING = _fault("trainables.notes.features", "tokenize", "raise ValueError(args[0][0])")
SUB_WORDS = _fault("trainables.notes.tokens", "train_tokenizer", "raise ValueError(args[0][0])")
BASELINE = _fault("trainables.models.baselines", "fit_baseline", "raise ValueError(args[1][0])")
TRAINING = _fault(
    "trainables.runner",
    "StoredState.save",
    "raise OSError(f'{sys._getframe(1).f_locals[\"corpus\"].texts}')",
)
SCORING = _fault("trainables.runner", "examined", "raise ValueError(args[2].texts[0])")
WORKER = _fault(
    "trainables.trainable",
    "steps_to_json",
    "raise RuntimeError(sys._getframe(1).f_locals['self']._corpus.texts[0])",
)
SETTING_UP = _fault("trainables.trainable", "run_group", "raise RuntimeError(args[1].texts[0])")


def killed_once(marker: str) -> str:
    """The process of the first epoch that is saved is killed, once."""
    body = (
        f"marker = pathlib.Path({marker!r})\n"
        "first = not marker.exists()\n"
        "marker.touch()\n"
        "plain(*args, **named)\n"
        "if first:\n    os.kill(os.getpid(), 9)"
    )
    return _fault("trainables.runner", "StoredState.save", body)


def stalled(marker: str) -> str:
    """Epochs take for ever once the marker is there."""
    body = f"plain(*args, **named)\npathlib.Path({marker!r}).touch()\nimport time\ntime.sleep(600)"
    return _fault("trainables.runner", "StoredState.save", body)
