"""Every mode of the backbone really trains, moves nothing else, and resumes to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, Optimiser
from headhunt.spaces.heads import AdapterHead, LinearHead
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.models.backbones import load_encoder
from headhunt.trainables.models.finetuned import TunedModel, layers_of, trained_state
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.checkpoints import load_checkpoint, save_checkpoint
from headhunt.trainables.training.loop import Task, add_gradients, micro_shares, train
from headhunt.trainables.training.states import StateFolder

from ..backbone_dirs import make_backbone

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(max_epochs=3, patience=0, batch_limit=8, max_tokens=32)
MODES = {
    "last_k": {"mode": Mode.LAST_K, "last_k": 1},
    "full": {"mode": Mode.FULL},
    "lora": {"mode": Mode.LORA, "lora_rank": 4, "lora_alpha": 8},
}
RATES = {Optimiser.ADAMW: 1e-2, Optimiser.SGD: 3e-2, Optimiser.ADAFACTOR: 3e-2}


@pytest.fixture(scope="module", params=["camembert", "roberta"])
def encoder_of(request, tmp_path_factory):
    folder = make_backbone(tmp_path_factory.mktemp("tuned") / request.param, request.param)
    return lambda: load_encoder(str(folder), folder)[0]


@pytest.fixture(scope="module")
def task():
    """Notes of 4 to 20 tokens; the class is whether token 10 is in them."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(4, 21, size=48)
    notes = [generator.integers(20, 200, size=n).astype(np.int32) for n in lengths]
    labels = np.arange(len(notes)) % 2
    for note, label in zip(notes, labels, strict=True):
        note[0] = 0
        note[1 : 1 + 3 * label] = 10
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    inputs = Ragged(torch.from_numpy(np.concatenate(notes)), offsets)
    return Task(inputs, labels, 2, np.arange(36), np.arange(36, 48))


def config_of(mode, *, optimiser=Optimiser.ADAMW, accumulation=1, checkpointing=False, **changes):
    optimisation = Optimisation(
        learning_rate=RATES[optimiser],
        optimiser=optimiser,
        batch_size=4,
        accumulation=accumulation,
        warmup_share=0.0,
    )
    given = {"head": LinearHead(), "optimisation": optimisation, **changes}
    return HeadConfig(backbone="tiny", checkpointing=checkpointing, **MODES[mode], **given)


def run(encoder_of, task, config, *, checkpoint=None, settings=SETTINGS):
    """The model that was trained, and its epochs' reports and weights."""
    built = []

    def build():
        built.append(TunedModel(encoder_of(), task.classes, config))
        return built[0]

    epochs = []
    for epoch in train(
        build, task, config.optimisation, settings, seed=7, device=CPU, checkpoint=checkpoint
    ):
        state = {name: t.clone() for name, t in epoch.weights().items()}
        epochs.append((epoch.report, state, epoch.checkpoint("hash")))
    return built[0], epochs


def batch(task):
    inputs, mask = task.inputs.batch(task.training[:4], CPU)
    return inputs, mask, torch.from_numpy(task.labels[task.training[:4]])


@pytest.mark.parametrize("optimiser", [Optimiser.SGD, Optimiser.ADAFACTOR])
def test_the_other_optimisers_learn_too_where_all_of_the_backbone_trains(
    encoder_of, task, optimiser
):
    settings = replace(SETTINGS, max_epochs=15)

    _, epochs = run(encoder_of, task, config_of("full", optimiser=optimiser), settings=settings)

    losses = [report.train_loss for report, *_ in epochs]
    assert np.mean(losses[-3:]) < 0.85 * losses[0]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_learns_and_what_it_freezes_does_not_move_by_a_bit(encoder_of, task, mode):
    settings = replace(SETTINGS, max_epochs=15)
    before = encoder_of().state_dict()

    model, epochs = run(encoder_of, task, config_of(mode), settings=settings)

    losses = [report.train_loss for report, *_ in epochs]
    assert np.mean(losses[-3:]) < 0.85 * losses[0]  # with dropout: the last ones waver
    frozen = {n: p for n, p in model.encoder.named_parameters() if not p.requires_grad}
    assert (len(frozen) == 0) == (mode == "full")
    for name, parameter in frozen.items():
        assert torch.equal(parameter, before[name.replace("base_layer.", "")]), name


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_all_that_trains_and_nothing_else(encoder_of, task, mode, checkpointing):
    config = config_of(mode, checkpointing=checkpointing, head=AdapterHead())
    model = TunedModel(encoder_of(), 2, config).train()

    inputs, mask, target = batch(task)
    add_gradients(model, inputs, mask, target, weights=None, share=1.0)

    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("last_k", {"encoder.layer.1"}),
        ("full", {"embeddings", "encoder.layer.0", "encoder.layer.1"}),
        ("lora", {"encoder.layer.0", "encoder.layer.1"}),
    ],
)
def test_parts_train_where_the_mode_says_and_have_dropout_only_there(encoder_of, mode, trained):
    model = TunedModel(encoder_of(), 2, config_of(mode)).train()

    moving = {n for n, p in model.encoder.named_parameters() if p.requires_grad}
    dropping = {
        n
        for n, m in model.encoder.named_modules()
        if isinstance(m, torch.nn.Dropout) and m.training
    }

    assert {name for name in trained if any(n.startswith(name) for n in moving)} == trained
    assert all(n.startswith(tuple(trained)) for n in moving | dropping)
    assert all(any(n.startswith(name) for n in dropping) for name in trained)
    assert not any(m.training for m in model.eval().modules())


def test_lora_begins_as_the_backbone_itself(encoder_of, task):
    model = TunedModel(encoder_of(), 2, config_of("lora")).eval()
    plain = encoder_of()
    ids = torch.full((1, 6), 10)

    with torch.inference_mode():
        ours = model.encoder(input_ids=ids).last_hidden_state
        theirs = plain(input_ids=ids).last_hidden_state

    assert torch.equal(ours, theirs)


def test_padding_changes_no_note(encoder_of, task):
    model = TunedModel(encoder_of(), 2, config_of("full")).eval()
    short, long = sorted(task.training[:8], key=lambda n: task.inputs.lengths[n])[::7]

    with torch.inference_mode():
        alone = model(*task.inputs.batch(np.array([short]), CPU)).logits
        beside = model(*task.inputs.batch(np.array([short, long]), CPU)).logits

    assert task.inputs.lengths[short] < task.inputs.lengths[long]
    torch.testing.assert_close(alone[0], beside[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_checkpoint_holds_only_what_trains(encoder_of, task, mode):
    model, epochs = run(encoder_of, task, config_of(mode), settings=replace(SETTINGS, max_epochs=1))

    stored = epochs[0][2]
    trains = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(stored.model) == trains
    assert {name.rpartition(".")[0] for name in stored.optimiser} == trains


CASES = [
    *((mode, optimiser, 1, False) for mode in MODES for optimiser in Optimiser),
    *((mode, Optimiser.ADAMW, 1, True) for mode in MODES),
    *((mode, Optimiser.ADAMW, 2, False) for mode in MODES),
    ("full", Optimiser.ADAFACTOR, 2, True),
]


@pytest.mark.parametrize(("mode", "optimiser", "accumulation", "checkpointing"), CASES)
def test_resuming_after_any_epoch_ends_as_if_never_stopped(
    encoder_of, task, tmp_path, mode, optimiser, accumulation, checkpointing
):
    config = config_of(
        mode, optimiser=optimiser, accumulation=accumulation, checkpointing=checkpointing
    )
    settings = replace(SETTINGS, max_epochs=3)
    _, whole = run(encoder_of, task, config, settings=settings)

    for stopped in (1, 2):
        checkpoint = _trained_until(encoder_of, task, config, settings, stopped, tmp_path)
        _, rest = run(encoder_of, task, config, settings=settings, checkpoint=checkpoint)
        assert len(rest) == settings.max_epochs - stopped
        assert rest[-1][0].f1 == whole[-1][0].f1
        assert rest[-1][0].train_loss == whole[-1][0].train_loss
        assert rest[-1][0].validation_loss == whole[-1][0].validation_loss
        assert rest[-1][1].keys() == whole[-1][1].keys()
        assert all(torch.equal(rest[-1][1][n], whole[-1][1][n]) for n in whole[-1][1])


def _trained_until(encoder_of, task, config, settings, stopped, folder):
    """The checkpoint on disk of a trial that was killed after this epoch."""
    for epoch in train(
        lambda: TunedModel(encoder_of(), task.classes, config),
        task,
        config.optimisation,
        settings,
        seed=7,
        device=CPU,
    ):
        if epoch.report.epoch == stopped:
            save_checkpoint(
                StateFolder(folder), 1, replace(epoch.checkpoint("hash"), backbone="identity")
            )
            break
    assert load_checkpoint(StateFolder(folder), 1, "hash", "another backbone") is None
    checkpoint = load_checkpoint(StateFolder(folder), 1, "hash", "identity")
    assert checkpoint is not None
    return checkpoint


@pytest.mark.parametrize("class_weights", [False, True])
def test_accumulated_micro_batches_are_one_large_batch(encoder_of, task, class_weights):
    weights = torch.tensor([0.5, 1.5]) if class_weights else None
    notes = np.array([0, 2, 4, 6, 8, 1])  # five of one class, one of the other
    gradients = []
    for micro in ([notes], [notes[:4], notes[4:]]):
        torch.manual_seed(0)
        model = TunedModel(encoder_of(), 2, config_of("full", dropout=0.0)).eval()
        for part, share in zip(micro, micro_shares(micro, task, weights), strict=True):
            inputs, mask = task.inputs.batch(part, CPU)
            target = torch.from_numpy(task.labels[part])
            add_gradients(model, inputs, mask, target, weights=weights, share=share)
        gradients.append(model.head.classifier.weight.grad)

    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_checkpointing_changes_no_bit_of_the_result(encoder_of, task, mode):
    settings = replace(SETTINGS, max_epochs=1)
    _, plain = run(encoder_of, task, config_of(mode), settings=settings)
    _, recomputed = run(encoder_of, task, config_of(mode, checkpointing=True), settings=settings)

    assert plain[0][0].train_loss == recomputed[0][0].train_loss
    assert all(torch.equal(plain[0][1][n], recomputed[0][1][n]) for n in plain[0][1])


def test_more_last_layers_than_there_are_is_told_with_both_numbers(encoder_of):
    config = replace(config_of("last_k"), last_k=5)
    encoder = encoder_of()

    with pytest.raises(ValueError, match=r"at most the encoder's 2 layers; got config.last_k=5"):
        TunedModel(encoder, 2, config)
    assert len(layers_of(encoder)) == 2


def test_best_weights_are_what_trains(encoder_of):
    model = TunedModel(encoder_of(), 2, config_of("lora"))

    assert all("lora_" in n or n.startswith("head.") for n in trained_state(model))
