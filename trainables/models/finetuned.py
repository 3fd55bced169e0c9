"""A backbone that trains, with a head on it: the modes last_k, full and lora.

What a mode does not train keeps its weights and stays in evaluation mode, without dropout. Dropout
and attention are those of `kernels`, so that the footprint holds on every device.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ...spaces.configs import HeadConfig, Mode
from .classifier import HeadModel
from .kernels import with_plain_dropout
from .output import Output
from .skeleton import Skeleton

LORA_TARGETS = ("query", "value")  # as the paper's; BERT, RoBERTa and CamemBERT name them so


class TunedModel(nn.Module):
    """What a trial trains whose backbone does not stay frozen."""

    def __init__(self, encoder: Any, classes: int, config: HeadConfig) -> None:
        """Set the encoder up for its mode, in place, and put a new head on it.

        Args:
            encoder: a Hugging Face encoder with plain attention, loaded or empty; only this model
                may use it.
            classes: labels.
            config: the trial's choices.

        Raises:
            ValueError: the mode cannot be had from this encoder.
        """
        super().__init__()
        self.encoder = with_plain_dropout(_LIMITED[config.mode](encoder, config))
        self.head = HeadModel(encoder.config.hidden_size, classes, config)
        self.padding = int(encoder.config.pad_token_id or 0)
        if config.checkpointing:
            _recompute_layers(encoder)

    def forward(self, tokens: Tensor, mask: Tensor) -> Output:
        """Classify notes.

        Args:
            tokens: token numbers, [notes, tokens] int64, real ones first; at padding any number.
            mask: [notes, tokens] bool, True at real tokens.
        """
        # RoBERTa counts positions by what is not the padding token.
        ids = tokens.masked_fill(~mask, self.padding)
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return self.head(states, mask)

    def train(self, mode: bool = True) -> "TunedModel":
        """Set training mode where something trains: the head, and parts with such parameters.

        A part is a layer, or what stands around the layers. Under LoRA every layer trains, with its
        dropout, and the embeddings do not.
        """
        super().train(mode)
        for part in _parts(self.encoder, layers_of(self.encoder)):
            part.train(mode and any(p.requires_grad for p in part.parameters()))
        return self


def _recompute_layers(encoder: Any) -> None:
    """Keep only the input of each layer that trains, and compute the rest again on the way back.

    Non-reentrant: the other kind loses gradients where a layer's input needs none, as the first
    layer's under LoRA does. transformers makes the embeddings' output need gradients for its sake;
    that is undone, or frozen layers below would record all that they compute: with one of four
    layers training, a step needed twice as much memory with checkpointing as without.
    """
    enable = getattr(encoder, "activation_checkpointing_enable", None)  # its later name
    (enable or encoder.gradient_checkpointing_enable)({"use_reentrant": False})
    encoder.disable_input_require_grads()
    encoder.config.use_cache = False  # of decoders; it would be turned off with a warning


def layers_of(encoder: Any) -> nn.ModuleList:
    """The encoder's layers, from the embeddings up.

    Raises:
        ValueError: they are not a list of the length that the configuration states.
    """
    depth = int(getattr(encoder.config, "num_hidden_layers", 0))
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth > 0:
            return module
    raise ValueError(
        f"an encoder that trains must keep its layers in one list of num_hidden_layers; got "
        f"model_type={encoder.config.model_type!r} with {depth=}: use mode frozen"
    )


def _parts(module: nn.Module, layers: nn.ModuleList) -> Iterator[nn.Module]:
    """Each layer, and each largest module that holds none of them."""
    for child in module.children():
        if child is layers:
            yield from layers
        elif any(inner is layers for inner in child.modules()):
            yield from _parts(child, layers)
        else:
            yield child


def _last_k(encoder: Any, config: HeadConfig) -> nn.Module:
    """Only the last layers train; neither the embeddings nor a norm behind the layers do."""
    layers = layers_of(encoder)
    depth = encoder.depth if isinstance(encoder, Skeleton) else len(layers)
    if config.last_k > depth:
        raise ValueError(
            f"last_k must be at most the encoder's {depth} layers; got {config.last_k=}"
        )
    if isinstance(encoder, Skeleton):
        return encoder.train_last(config.last_k)
    encoder.requires_grad_(False)
    for layer in layers[len(layers) - config.last_k :]:
        layer.requires_grad_(True)
    return encoder


def _full(encoder: Any, config: HeadConfig) -> nn.Module:
    del config
    return encoder.requires_grad_(True)


def _lora(encoder: Any, config: HeadConfig) -> nn.Module:
    """Hu et al. 2021: W + alpha / rank * B A on queries and values, B zero at the start."""
    if isinstance(encoder, Skeleton):
        return encoder.add_low_rank(config.lora_rank)
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    names = {name.rpartition(".")[2] for name, _ in layers_of(encoder).named_modules()}
    targets = KNOWN.get(encoder.config.model_type, LORA_TARGETS)
    if not names.issuperset(targets):
        raise ValueError(
            f"lora adds to the layers' {list(targets)}, which this encoder does not have; "
            f"got model_type={encoder.config.model_type!r}: use last_k, full or frozen"
        )
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=list(targets),
        lora_dropout=0.0,
        bias="none",
    )
    return inject_adapter_in_model(settings, encoder)


_LIMITED = {Mode.LAST_K: _last_k, Mode.FULL: _full, Mode.LORA: _lora}


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What of the model's state training moves: all but its frozen parameters."""
    frozen = _frozen_names(model)
    return {name: t for name, t in model.state_dict().items() if name not in frozen}


def load_trained_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what `trained_state` took; the frozen parameters stay as they were loaded.

    Raises:
        ValueError: the state is of another model.
    """
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) != _frozen_names(model):
        raise ValueError(
            f"a state must hold exactly what trains; {len(unexpected)} of its tensors are unknown "
            f"to this model, and {len(set(missing) - _frozen_names(model))} are missing"
        )


def _frozen_names(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if not p.requires_grad}
