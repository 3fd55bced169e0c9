"""The lines that load an exported model without headhunt, written for this very model.

They stand in its model card, as text that somebody reads and runs: the folder itself holds no code.
A note's logits are those of the networks in `models/`, in evaluation mode.
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from ...spaces.configs import BaselineConfig, HeadConfig, Mode, ScratchConfig
from .description import BACKBONE, BackboneReference, Description

BASELINE = """\
import json
import numpy as np
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer

w, said = load_file("model.safetensors"), json.load(open("vocabulary.json", encoding="utf-8"))
tfidf = TfidfVectorizer(vocabulary=said["terms"], ngram_range=(1, {{ ngrams }}), sublinear_tf=True)
tfidf.idf_ = np.array(said["idf"])

def logits(texts):
{%- if layers == 1 %}
    return tfidf.transform(texts) @ w["0.weight"].T + w["0.bias"]
{%- else %}
    inner = np.maximum(tfidf.transform(texts) @ w["0.weight"].T + w["0.bias"], 0)
    return inner @ w["1.weight"].T + w["1.bias"]
{%- endif %}

"""

NETWORK = """\
import json
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional as F
{%- if encoder %}
from transformers import {{ "AutoConfig, " if whole }}AutoModel
{%- endif %}
{%- if package %}
from {{ package }} import MODEL_DIR
{%- endif %}

w, tokenizer = load_file("model.safetensors"), Tokenizer.from_file("tokenizer.json")
{%- if whole %}
encoder = AutoModel.from_config(AutoConfig.from_pretrained("backbone")).eval()
{%- elif encoder %}
{%- if remark %}
# {{ remark }}
{%- endif %}
encoder = AutoModel.from_pretrained({{ encoder }}).eval()
{%- endif %}
{%- if trained %}
encoder.load_state_dict({k[8:]: t for k, t in w.items() if k[:8] == "encoder."}, strict=False)
{%- endif %}
{%- if lora %}
for name, a in w.items():
    if ".lora_A." in name:  # W + alpha / rank * B A
        layer = encoder.get_submodule(name[8:].split(".lora_A.")[0])
        layer.weight.data += {{ alpha }} / {{ rank }} * w[name.replace("lora_A", "lora_B")] @ a
{%- endif %}

def dense(x, name):
    return F.linear(x, w[{{ at }} + ".weight"], w.get({{ at }} + ".bias"))
{%- if norms %}

def norm(x, name):
    return F.layer_norm(x, x.shape[-1:], w[{{ at }} + ".weight"], w[{{ at }} + ".bias"])
{%- endif %}

@torch.inference_mode()
def logits(texts):
    notes = tokenizer.encode_batch(texts)
    ids = torch.tensor([n.ids for n in notes])
    mask = torch.tensor([n.attention_mask for n in notes])
{%- if encoder %}
    h = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
{%- endif %}
{{ steps }}
    return dense(x, "classifier")

"""

PROBABILITIES = """\
labels = json.load(open("headhunt.json", encoding="utf-8"))["labels"]
temperature = json.load(open("calibration.json"))["temperature"]
probabilities = {{ softmax }}(logits(["A note."]) / temperature, 1)
"""

HEADS = {
    "linear": "",
    "adapter": """\
    x = dense({{ 'norm(h, "structure.norm")' if layer_norm else "h" }}, "structure.down")
    h = h + dense(F.{{ activation }}(x), "structure.up")""",
    "lightweight residual": """\
    x = dense(norm(h, "structure.norm"), "structure.down")
    h = h + dense(F.relu(x), "structure.up")""",
    "lightweight inner": """\
    h = norm(dense(dense(h, "structure.down"), "structure.up"), "structure.norm")""",
    "tiny_attention": """\
    parts = dense(norm(h, "structure.norm"), "structure.project").chunk(3, dim=-1)
    weights = w["{{ prefix }}structure.attention.in_proj_weight"].chunk(3)
    biases = w["{{ prefix }}structure.attention.in_proj_bias"].chunk(3)
    q, k, v = (F.linear(*each) for each in zip(parts, weights, biases))
    x = F.scaled_dot_product_attention(q, k, v, mask[:, None, :].bool())
    h = h + dense(dense(x, "structure.attention.out_proj"), "structure.up")""",
    "grn": """\
    x = dense(F.elu(dense(h, "structure.w2")), "structure.w1")
    x = dense(x, "structure.w4").sigmoid() * dense(x, "structure.w5")
    h = norm(h + x, "structure.norm")""",
}

BLOCKS = """\
    h = w["tokens.weight"][ids] + w["positions"][: ids.shape[1]]
    for b in range({{ blocks }}):
        at = f"blocks.{b}."
        x = dense(h, at + "attention.project").unflatten(-1, (3, {{ heads }}, -1))
        x = F.scaled_dot_product_attention(*x.permute(2, 0, 3, 1, 4), mask[:, None, None, :].bool())
        x = dense(x.transpose(1, 2).flatten(2), at + "attention.out")
        h, at = norm(h + x, at + "attention_norm"), at + "feed_forward"
{%- if experts %}
        gate, expert = dense(h, at + ".router").softmax(-1).max(-1, keepdim=True)
        x = torch.zeros_like(h)
        for e in range({{ experts }}):
            y = F.relu(h @ w[at + ".up"][e] + w[at + ".up_bias"][e])
            y = y @ w[at + ".down"][e] + w[at + ".down_bias"][e]
            x = torch.where(expert == e, gate * y, x)
{%- else %}
        x = dense(F.relu(dense(h, at + ".up")), at + ".down")
{%- endif %}
        h = norm(h + x, at + "_norm")"""

POOLINGS = {
    "first": "    x = h[:, 0]",
    "mean": "    x = (h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
    "max": "    x = h.masked_fill(mask[..., None] == 0, -torch.inf).max(1).values",
    "attention": """\
    scores = h @ w["{{ prefix }}pool.query"] / h.shape[-1] ** 0.5
    share = scores.masked_fill(mask == 0, -torch.inf).softmax(1)
    x = (share[..., None] * h).sum(1)""",
}

_ENVIRONMENT = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def plain_code(description: Description) -> str:
    """The lines; they define `logits(texts)`, [notes, classes], and show what else there is."""
    baseline = isinstance(description.config, BaselineConfig)
    ending = {"softmax": "softmax" if baseline else "torch.softmax"}
    return _model(description) + _written(PROBABILITIES, ending)


def _model(description: Description) -> str:
    config = description.config
    if isinstance(config, BaselineConfig):
        layers = 1 if config.model == "tfidf_lr" else 2
        return _written(BASELINE, {"ngrams": config.ngrams, "layers": layers})
    if isinstance(config, ScratchConfig):
        said = {
            "blocks": config.blocks,
            "heads": config.attention_heads,
            "experts": config.experts if config.model == "moe" else 0,
        }
        body, norms, about = BLOCKS, True, _no_encoder()
    else:
        body, norms, said = _head(config)
        about = _encoder(config, description.backbone)
    at = f'"{about["prefix"]}" + name' if about["prefix"] else "name"
    values = {**about, **said, "norms": norms, "at": at}
    steps = [_written(template, values) for template in (body, POOLINGS[config.pooling])]
    return _written(NETWORK, {**values, "steps": "\n".join(step for step in steps if step)})


def _written(template: str, values: Mapping[str, Any]) -> str:
    return _ENVIRONMENT.from_string(template).render(values)


def _no_encoder() -> dict[str, Any]:
    names = ("encoder", "whole", "trained", "lora", "package", "remark", "prefix")
    return dict.fromkeys(names, "")


def _head(config: HeadConfig) -> tuple[str, bool, dict[str, Any]]:
    """The template of a head, whether it normalises, and what it is filled with."""
    kind, head = config.head.kind, config.head
    said: dict[str, Any] = {}
    norms = kind not in ("linear", "adapter")
    if kind == "adapter":
        norms = getattr(head, "layer_norm", False)
        said = {"layer_norm": norms, "activation": getattr(head, "activation", "")}
    if kind == "lightweight":
        kind = f"lightweight {getattr(head, 'variant', '')}"
    return HEADS[kind], norms, said


def _encoder(config: HeadConfig, reference: BackboneReference | None) -> dict[str, Any]:
    """Where the encoder is, and what of it the folder changes."""
    frozen, lora = config.mode is Mode.FROZEN, config.mode is Mode.LORA
    return {
        **_place(reference),
        "whole": config.mode is Mode.FULL,
        "trained": not frozen and not lora,
        "lora": lora,
        "alpha": config.lora_alpha,
        "rank": config.lora_rank,
        "prefix": "" if frozen else "head.",
    }


def _place(reference: BackboneReference | None) -> dict[str, str]:
    if reference is None or reference.copied:
        return {"encoder": repr(BACKBONE), "package": "", "remark": ""}
    if reference.package:
        return {"encoder": "MODEL_DIR", "package": reference.package, "remark": ""}
    if reference.hub_id:
        revision = f", revision={reference.revision!r}" if reference.revision else ""
        return {"encoder": f"{reference.hub_id!r}{revision}", "package": "", "remark": ""}
    return {
        "encoder": repr(f"PATH/TO/{reference.name}"),
        "package": "",
        "remark": f"the directory {reference.name!r}: the hash of its files is "
        f"{reference.identity}",
    }
