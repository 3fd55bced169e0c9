"""Several studies as one frame, from the store and from bundles, each under a name of its own."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ..spaces.record import Column
from .bundle_file import Bundle, BundleError
from .columns import PARAMETERS, STUDY_COLUMN, described


def called(sources: Sequence[str], bundles: Mapping[str, Bundle]) -> dict[str, str]:
    """What each source is called in the column `study`.

    A bundle has its study's name, or that of its file where another source has the name: labs call
    their studies alike.

    Raises:
        BundleError: two files hold the same, and its trials would count twice.
    """
    files: dict[str, str] = {}
    for file, bundle in bundles.items():
        if (first := files.setdefault(bundle.digest, file)) != file:
            raise BundleError(f"{file} holds the same as {first}: name one of them")
    names = {source: bundles[source].study if source in bundles else source for source in sources}
    times = Counter(names.values())
    return {s: s if s in bundles and times[name] > 1 else name for s, name in names.items()}


def joined(frames: Mapping[str, pd.DataFrame], columns: Sequence[Column]) -> pd.DataFrame:
    """One frame of several studies', with the study first and the parameters of all."""
    fixed = [column.name for column in columns]
    found = {str(name) for frame in frames.values() for name in frame.columns}
    names = [*fixed, *in_order(found.difference(fixed))]
    studies = [name for name, frame in frames.items() for _ in range(len(frame))]
    frame_of_all = pd.DataFrame({STUDY_COLUMN.name: pd.Series(studies, dtype="string")})
    for name in names:
        frame_of_all[name] = _stacked(name, frames.values())
    frame_of_all.attrs["columns"] = described([STUDY_COLUMN.name, *names], columns)
    frame_of_all.attrs["manifests"] = {
        name: frame.attrs["manifest"] for name, frame in frames.items()
    }
    return frame_of_all


def _stacked(name: str, frames: Iterable[pd.DataFrame]) -> pd.Series:
    """One column of several frames; where a frame has none, it is missing.

    A parameter that is not from here may have a type in each: then its values are texts.
    """
    dtypes = {frame[name].dtype for frame in frames if name in frame}
    dtype = dtypes.pop() if len(dtypes) == 1 else pd.StringDtype()
    parts = [
        frame[name].astype(dtype) if name in frame else pd.Series(None, frame.index, dtype)
        for frame in frames
    ]
    return pd.concat(parts, ignore_index=True)


def in_order(found: set[str]) -> list[str]:
    """Parameters as they are described, then those that are not."""
    known = [column.name for column in PARAMETERS if column.name in found]
    return known + sorted(found.difference(known))
