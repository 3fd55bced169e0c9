"""The hashes of a study's backbones: each is loaded once, before the study is made."""

from collections.abc import Mapping, Sequence

from ..spaces.configs import backbone_label
from ..stores import Store
from ..trainables.card.cap import is_out_of_memory
from ..trainables.models.backbone_checks import AbsentError
from ..trainables.models.backbones import BackboneError, check, identity, load_backbone, locate
from ..trainables.notes.cache import cache_path


def identities_of(
    store: Store, backbones: Sequence[str], problems: list[str], known: Mapping[str, str]
) -> dict[str, str]:
    """Load each new backbone: a torn or missing weight must show before the study is made.

    Args:
        store: of the study.
        backbones: as they were asked for.
        problems: told here, one a backbone or more.
        known: of files that were loaded before, which is not done again: seconds of each start.

    Returns:
        Hash by backbone; what has a problem is not in it.
    """
    identities: dict[str, str] = {}
    absent: list[AbsentError] = []
    for name in backbones:
        try:
            check(name)  # most of what is wrong shows without writing anything
            if name in known and identity(locate(name)) == known[name]:
                identities[name] = known[name]
            else:
                identities[name] = load_backbone(name, cache_path(store.work)).identity
        except AbsentError as error:
            absent.append(error)
        except BackboneError as error:
            problems.append(str(error))
        except Exception as error:
            if is_out_of_memory(error):
                problems.append(
                    "this machine has not the memory to load the backbone "
                    f"{backbone_label(name)!r}: end what fills it, or search without the backbone"
                )
            elif isinstance(error, OSError):
                problems.append(f"the folder {store.work} cannot be written: {error}")
            else:
                raise
    problems += _told_at_once(absent)
    return identities


def _told_at_once(absent: Sequence[AbsentError]) -> list[str]:
    """One message for all backbones that are missing for one reason."""
    downloads: dict[str, list[str]] = {}
    for error in absent:
        downloads.setdefault(error.why, []).extend(error.downloads)
    return [str(AbsentError(words, why)) for why, words in downloads.items()]
