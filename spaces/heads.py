"""The heads that a search may choose: each one's settings, what may vary in them, and a reference.

A new head is one settings class with its suggester here, registered in `HEADS`, and one file in
`trainables/models/heads/`. A conditional parameter is an `if`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # a worker trains without Optuna, and configs are read without it
    from optuna.trial import BaseTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """No structure between the last hidden states and the pooling: the control."""

    kind: ClassVar[str] = "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterHead:
    """h + W_up f(W_down h): Houlsby et al. 2019; AdaptFormer with relu and init zero."""

    kind: ClassVar[str] = "adapter"
    bottleneck: int = 64  # width of the bottleneck
    activation: str = "gelu"  # gelu | relu
    layer_norm: bool = False  # LayerNorm before the bottleneck
    init: str = "houlsby"  # houlsby: both matrices N(0, 1e-3); zero: W_up = 0
    structure_dropout: float = 0.0  # inside the bottleneck, in [0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightweightHead:
    """h + W_up relu(W_down LN(h)): Le et al. 2021; variant inner: LN(W_up W_down h)."""

    kind: ClassVar[str] = "lightweight"
    bottleneck: int = 256  # width of the bottleneck
    variant: str = "residual"  # residual | inner (how one review of the study reads it)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyAttentionHead:
    """Self-attention in very few dimensions, added to h: Zhao et al. 2022."""

    kind: ClassVar[str] = "tiny_attention"
    attention_width: int = 1  # k, the width of queries, keys and values
    structure_dropout: float = 0.1  # on the attention weights, in [0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrnHead:
    """LN(h + GLU(dropout(W1 ELU(W2 h)))): the gated residual network of Lim et al. 2021."""

    kind: ClassVar[str] = "grn"
    bottleneck: int = 0  # width inside; 0: the backbone's own width, as in the paper's equation
    structure_dropout: float = 0.15  # before the gate, in [0, 1)


HeadSettings = LinearHead | AdapterHead | LightweightHead | TinyAttentionHead | GrnHead


def suggest_linear(trial: "BaseTrial") -> LinearHead:
    """The control has nothing to choose."""
    del trial
    return LinearHead()


def suggest_adapter(trial: "BaseTrial") -> AdapterHead:
    """Bottlenecks around the official 64, both activations, both initialisations."""
    return AdapterHead(
        bottleneck=trial.suggest_int("adapter_bottleneck", 8, 256, log=True),
        activation=trial.suggest_categorical("adapter_activation", ["gelu", "relu"]),
        layer_norm=trial.suggest_categorical("adapter_layer_norm", [False, True]),
        init=trial.suggest_categorical("adapter_init", ["houlsby", "zero"]),
        structure_dropout=trial.suggest_float("adapter_dropout", 0.0, 0.3),
    )


def suggest_lightweight(trial: "BaseTrial") -> LightweightHead:
    """Bottlenecks up to the official 256, and both readings of the structure."""
    return LightweightHead(
        bottleneck=trial.suggest_int("lightweight_bottleneck", 16, 256, log=True),
        variant=trial.suggest_categorical("lightweight_variant", ["residual", "inner"]),
    )


def suggest_tiny_attention(trial: "BaseTrial") -> TinyAttentionHead:
    """Attention widths from the official 1 up to 64."""
    return TinyAttentionHead(
        attention_width=trial.suggest_int("tiny_attention_width", 1, 64, log=True),
        structure_dropout=trial.suggest_float("tiny_attention_dropout", 0.0, 0.3),
    )


def suggest_grn(trial: "BaseTrial") -> GrnHead:
    """The paper's full width (24 to 440 times the other heads' parameters) or a bottleneck."""
    full = trial.suggest_categorical("grn_full_width", [False, True])
    return GrnHead(
        bottleneck=0 if full else trial.suggest_int("grn_bottleneck", 8, 256, log=True),
        structure_dropout=trial.suggest_float("grn_dropout", 0.0, 0.3),
    )


@dataclass(frozen=True, slots=True)
class HeadChoice:
    """One entry of the space: the settings, how they are suggested, and where a search starts."""

    settings: type[HeadSettings]
    suggest: "Callable[[BaseTrial], HeadSettings]"
    reference: Mapping[str, Any]  # parameters of the official code; the search tries them first


HEADS: dict[str, HeadChoice] = {
    "linear": HeadChoice(LinearHead, suggest_linear, {}),
    "adapter": HeadChoice(
        AdapterHead,
        suggest_adapter,
        {
            "adapter_bottleneck": 64,
            "adapter_activation": "gelu",
            "adapter_layer_norm": False,
            "adapter_init": "houlsby",
            "adapter_dropout": 0.0,
        },
    ),
    "lightweight": HeadChoice(
        LightweightHead,
        suggest_lightweight,
        {"lightweight_bottleneck": 256, "lightweight_variant": "residual"},
    ),
    "tiny_attention": HeadChoice(
        TinyAttentionHead,
        suggest_tiny_attention,
        {"tiny_attention_width": 1, "tiny_attention_dropout": 0.1},
    ),
    "grn": HeadChoice(GrnHead, suggest_grn, {"grn_full_width": True, "grn_dropout": 0.15}),
}
