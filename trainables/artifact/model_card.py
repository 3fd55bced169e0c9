"""The model card, README.md in an exported folder: what it is, how good, at what cost, its limits.

Written for whoever is handed the folder. Counts, hashes, labels and scores stand in it, no note.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined

from ...spaces.configs import BaselineConfig, Config, HeadConfig, Mode, ScratchConfig
from .calibration import Calibration
from .description import Description, is_whole_encoder
from .plain_code import plain_code

# Characters that mean something to Markdown or HTML: a label is text.
_MARKS = {mark: f"&#{ord(mark)};" for mark in "&<>|*_[]`\\#~$"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """A metric on the test part, of the same config trained again: see `headhunt confirm`."""

    name: str  # of the metric
    value: float
    low: float  # of its interval
    high: float
    level: float  # of the interval, in (0, 1)
    seeds: int  # trainings
    training_notes: int  # of each training
    notes: int  # that it was measured on


TEMPLATE = """\
---
library_name: headhunt
pipeline_tag: text-classification
{%- if hub_id %}
base_model: {{ hub_id }}
{%- endif %}
---

# {{ title }}

A classifier of clinical notes into {{ labels | length }} classes:
{{ labels | map("plain") | join(", ") }}.
It is trial {{ origin.trial }} of the study {{ origin.study | plain }}, exported by headhunt
{{ origin.versions.headhunt }}.

**It is confidential.** {{ confidential }}

## Use
```
headhunt predict DIR notes.csv -o predictions.csv{{ " --backbone ENCODER_DIR" if asks_backbone }}
```
Without headhunt, in this folder{{ ", with " + needs }}:

```python
{{ code -}}
```
The folder holds data alone. headhunt executes nothing from it, and these lines import nothing
from it.

## What it is
| | |
|---|---|
{%- for name, value in facts %}
| {{ name }} | {{ value | plain }} |
{%- endfor %}

## What it was trained on
{{ origin.corpus.notes }} notes, of which {{ origin.corpus.parts.train }} to train,
{{ origin.corpus.parts.validation }} to validate and {{ origin.corpus.parts.test }} to test
{{- " (a patient on one side only)" if origin.corpus.by_patient }}.
Their hash, with labels and split, is `{{ origin.corpus.digest }}`.

| class | train | validation | test |
|---|---|---|---|
{%- for name in labels %}
{%- set counts = origin.corpus.classes[name] %}
| {{ name | plain }} | {{ counts.train }} | {{ counts.validation }} | {{ counts.test }} |
{%- endfor %}

## How good it is
| macro means on validation, at its best epoch ({{ origin.best_epoch }}) | |
|---|---|
{%- for name, value in origin.metrics.items() %}
| {{ name }} | {{ value | figure }} |
{%- endfor %}

The search chose this trial and this epoch by the same {{ calibration.notes }} validation notes, so
these figures flatter it.
{%- if confirmed %} On test, which no search saw, by `headhunt confirm`
({{ confirmed[0].notes }} notes; trained {{ confirmed[0].seeds }} times anew on
{{ confirmed[0].training_notes }} notes, so these are figures of its kind, not of these weights):

| | | {{ "%g" | format(100 * confirmed[0].level) }} % interval |
|---|---|---|
{%- for it in confirmed %}
| {{ it.name }} | {{ it.value | figure }} | {{ it.low | figure }} to {{ it.high | figure }} |
{%- endfor %}
{%- else %} It was not confirmed on the test part: there are no intervals.
{%- endif %}

**Calibration.** Logits are divided by {{ "%.3f" | format(calibration.temperature) }}, which stands
in `calibration.json` and changes no label. On validation the expected calibration error is
{{ calibration.error_before | figure }} before and {{ calibration.error_after | figure }} after, the
loss {{ calibration.loss_before | figure }} and {{ calibration.loss_after | figure }} nats a note.
It was fitted on those very notes, so elsewhere it is likely to be worse: measure it on notes of
your own, with `headhunt predict --score`.

## What it cost
{%- for line in costs %}
- {{ line | plain }}
{%- endfor %}

## Limits
- It knows the notes of one place and time. Elsewhere, or later, score it on labelled notes before
  anybody relies on it.
- It is no medical device. It has not been tested for differences between groups of patients.
- {{ reads }}
{%- if precision_remark %}
- {{ precision_remark }}
{%- endif %}
- Weights learned from notes may give back something of them. {{ vocabulary_remark }}
"""


def plain(text: object) -> str:
    """A text that neither Markdown nor HTML reads anything into.

    >>> plain("<b>a|b</b>")
    '&#60;b&#62;a&#124;b&#60;/b&#62;'
    """
    return "".join(_MARKS.get(mark, mark) if mark.isprintable() else " " for mark in str(text))


_ENVIRONMENT = Environment(undefined=StrictUndefined, autoescape=False)
_ENVIRONMENT.filters |= {"plain": plain, "figure": "{:.4f}".format}


def model_card(
    description: Description, calibration: Calibration, confirmed: Sequence[Confirmed] = ()
) -> str:
    """The card.

    Args:
        description: with an origin as `search.export` tells it.
        calibration: what was fitted.
        confirmed: metrics on test, where the study was confirmed.
    """
    config, backbone = description.config, description.backbone
    return _ENVIRONMENT.from_string(TEMPLATE).render(
        title=f"{_model(description)} ({description.origin['study']}, "
        f"trial {description.origin['trial']})",
        labels=description.labels,
        origin=description.origin,
        calibration=calibration,
        confirmed=confirmed,
        code=plain_code(description),
        facts=_facts(description),
        costs=description.origin["costs"],
        hub_id=backbone.hub_id if backbone else "",
        asks_backbone=_asks_backbone(description),
        confidential=CONFIDENTIAL,
        needs=_needs(config),
        reads=_reads(description),
        precision_remark=_precision_remark(description),
        vocabulary_remark=vocabulary_remark(description),
    )


def _needs(config: Config) -> str:
    """The packages that the lines import."""
    if isinstance(config, BaselineConfig):
        return "scikit-learn and safetensors"
    also = "transformers, " if isinstance(config, HeadConfig) else ""
    return f"torch, {also}tokenizers and safetensors"


CONFIDENTIAL = (
    "It was learned from clinical notes: whoever may not read those shall not have it. Its files "
    "are its owner's alone."
)


def vocabulary_remark(description: Description) -> str:
    """What a vocabulary that was learned from notes may hold; for the card and the command."""
    least = description.origin["min_document_frequency"]
    if isinstance(description.config, HeadConfig):
        return "Its vocabulary is the backbone's, and not of these notes."
    said = "Its vocabulary was learned from the notes and can hold names"
    if least > 1:
        return (
            f"{said}: words of fewer than {least} patients were kept out "
            f"(`--min-document-frequency {least}`)."
        )
    return (
        f"{said}: no word was kept out. A search with `--min-document-frequency 5` learns only "
        "words that five patients share."
    )


def _asks_backbone(description: Description) -> bool:
    reference = description.backbone
    if reference is None or is_whole_encoder(description.config):
        return False
    return not (reference.copied or reference.hub_id or reference.package)


def _model(description: Description) -> str:
    config, backbone = description.config, description.backbone
    if isinstance(config, HeadConfig) and backbone:
        return f"{config.model} on {plain(backbone.name)}, {config.mode}"
    return config.model


def _facts(description: Description) -> list[tuple[str, object]]:
    config, backbone, origin = description.config, description.backbone, description.origin
    facts: list[tuple[str, object]] = [("model", config.model)]
    if isinstance(config, HeadConfig) and backbone:
        where = f"{backbone.hub_id} at {backbone.revision}" if backbone.hub_id else backbone.name
        how = "copied" if backbone.copied else "by reference"
        if is_whole_encoder(config):
            how = "trained, and here whole"
        facts += [
            ("backbone", f"{where} ({how}); hash of its files {backbone.identity}"),
            ("mode", config.mode),
            ("pooling", config.pooling),
        ]
    if isinstance(config, ScratchConfig):
        facts.append(("sub-words", "byte pairs, learned from the training notes"))
    facts += [(name, value) for name, value in origin["parameters"].items() if value is not None]
    facts += [
        ("config", origin["config_hash"]),
        ("seed", origin["seed"]),
        ("trained with", ", ".join(f"{k} {v}" for k, v in origin["versions"].items())),
        ("weights", origin["weights"]),
    ]
    return facts


def _reads(description: Description) -> str:
    if isinstance(description.config, BaselineConfig):
        return "It reads words without their order, beyond pairs."
    return f"It reads the first {description.max_tokens} tokens of a note, and nothing behind them."


def _precision_remark(description: Description) -> str:
    config = description.config
    if not isinstance(config, HeadConfig) or config.mode is not Mode.FROZEN:
        return ""
    if description.precision != "bf16":
        return ""
    return (
        "Its head was trained on states that the encoder gave in bfloat16. In single precision, as "
        "in the lines above, probabilities differ in the third digit."
    )


def told_costs(costs: Mapping[str, Any]) -> list[str]:
    """Lines of what a trial took; what is not known is left out."""
    lines = []
    if costs.get("card_hours") is not None:
        lines.append(
            f"{costs['card_hours']:.3g} GPU-hours on the card {costs['card']}: modelled, for "
            f"{costs['epochs']} epochs and the encoding of all notes, as if trained alone"
        )
    if costs.get("peak_mib") is not None:
        lines.append(f"{costs['peak_mib']:,.0f} MiB at its peak there: modelled")
    lines.append(
        f"{costs['wall_seconds']:.3g} s of training, {costs['cpu_seconds']:.3g} s of processor "
        f"time: measured, on {costs['device'] or 'an unknown device'}"
    )
    return lines
