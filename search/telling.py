"""How an error is told whose message is not ours: by its type and its place.

A library's message, or one of a user's space, could quote a note. Types, files and lines do not.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..spaces import configs
from ..trainables.card.cap import ShortOfMemoryError
from ..trainables.models.backbones import BackboneError

OUR_SPACES = str(Path(configs.__file__).parent)
OUR_CODE = (OUR_SPACES, str(Path(__file__).parent))
LIBRARIES = "site-packages"


class EncodingError(RuntimeError):
    """What is made of the notes could not be made, for a reason that no other error names."""


def in_our_words(what: str, error: Exception) -> Exception:
    """The error of something that read notes, without its frames and without a quotation.

    Args:
        what: failed, as a message begins.
        error: of any type.
    """
    if isinstance(error, (ShortOfMemoryError, BackboneError)):
        return type(error)(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return EncodingError(f"{what} failed: {type(error).__name__}")


@contextmanager
def telling_by_type(what: str) -> Iterator[None]:
    """Raise what is raised in the block in our words."""
    try:
        yield
    except Exception as error:
        raise in_our_words(what, error) from None


def of_a_space(error: BaseException) -> str:
    """What a space's code failed with: our own words about configs, else type and line alone."""
    frames = traceback.extract_tb(error.__traceback__)
    if frames and frames[-1].filename.startswith(OUR_SPACES):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{Path(error.filename).name}:{error.lineno}"
    else:
        theirs = [f for f in frames if _is_theirs(f.filename)]
        last = theirs[-1] if theirs else frames[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module named {error.name!r} at {place}"
    return f"{type(error).__name__} at {place} (what it says is not shown: it could quote a note)"


def _is_theirs(filename: str) -> bool:
    """Whether it is the user's: compiled libraries name files that are not there."""
    inside = filename.startswith(OUR_CODE) or LIBRARIES in filename
    return not inside and Path(filename).is_file()
