"""Tiny pre-trained encoders, made on the spot: real files in the real formats, and bad ones.

Each function fills a folder that `locate` takes as it would take a download. The weights are
random, the tokenizer is a real fast one with RoBERTa's special tokens.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from headhunt.trainables.models.backbones import PICKLED, WEIGHTS

WIDTH, LAYERS, ATTENTION_HEADS, POSITIONS = 16, 2, 2, 66
SENTENCES = [
    "patient dyspnéique ce matin, crépitants aux deux bases",
    "pas de signe d'insuffisance cardiaque, bonne diurèse sous furosémide",
    "antécédent d'OAP en 2019, ne prend plus de diurétique",
    "OMI godet bilatéraux, BNP à 1250, poids +3 kg",
]
MODELS = {
    "camembert": (CamembertConfig, CamembertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "bert": (BertConfig, BertModel),
}


def make_backbone(folder: Path, kind: str = "camembert", *, seed: int = 0) -> Path:
    """A tiny encoder of this kind with its tokenizer, weights in safetensors."""
    tokenizer = make_tokenizer()
    config_class, model_class = MODELS[kind]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=ATTENTION_HEADS,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,  # at the usual .02 all notes look alike
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_pickled(folder: Path, kind: str = "camembert") -> Path:
    """The same encoder as `make_backbone` makes, its weights in pytorch_model.bin alone."""
    make_backbone(folder, kind)
    torch.save(load_file(folder / WEIGHTS), folder / PICKLED)
    (folder / WEIGHTS).unlink()
    return folder


def make_malicious(folder: Path, marker: Path) -> Path:
    """An encoder whose pickle would make `marker` if anything in it were executed."""
    make_pickled(folder)
    torch.save({"weight": _Touch(marker)}, folder / PICKLED)
    return folder


def make_remote(folder: Path, marker: Path, *, model_type: str) -> Path:
    """An encoder whose config.json names code in its folder, which would make `marker`."""
    make_backbone(folder)
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    for module in ("configuration_evil", "modeling_evil", "tokenization_evil"):
        (folder / f"{module}.py").write_text(code)
    evil = {
        "AutoConfig": "configuration_evil.EvilConfig",
        "AutoModel": "modeling_evil.EvilModel",
        "AutoTokenizer": ["tokenization_evil.EvilTokenizer", None],
    }
    edit_json(folder / "config.json", model_type=model_type, auto_map=evil)
    edit_json(folder / "tokenizer_config.json", auto_map=evil)
    return folder


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, as RoBERTa has them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def edit_json(path: Path, **values: object) -> None:
    """Set these keys of a JSON file."""
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, **values}))


class _Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_touch, (self.marker,))


def _touch(marker: str) -> None:
    Path(marker).touch()
