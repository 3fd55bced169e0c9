import json
import traceback
from dataclasses import replace

import pytest
import torch

from headhunt.spaces.configs import BaselineConfig, HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import HEADS, LinearHead
from headhunt.spaces.record import EpochReport, Outcome, State, best_report
from headhunt.trainables import runner
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.card.cap import ShortOfMemoryError
from headhunt.trainables.card.memory import WORKSPACE_BYTES
from headhunt.trainables.models.backbones import load_backbone
from headhunt.trainables.notes.cache import cache_dir
from headhunt.trainables.notes.corpus import Part
from headhunt.trainables.notes.features import encode_features
from headhunt.trainables.runner import Step, run_trial
from headhunt.trainables.trainable import steps_from_json, steps_to_json
from headhunt.trainables.training.checkpoints import load_checkpoint
from headhunt.trainables.training.states import Kind, StateFolder

from .backbone_dirs import WIDTH, make_backbone

CPU = torch.device("cpu")
CANARY = "zyrtexaquine"  # what stands for a note's text in an error's message
FAST = Optimisation(learning_rate=1e-2)
NUMBER = 5  # of the trial
HEAD = HeadConfig(backbone="tiny", head=LinearHead(), optimisation=FAST)
SCRATCH = ScratchConfig(width=8, feed_forward=8, vocabulary=200, optimisation=FAST)
CONFIGS = [
    *(replace(HEAD, head=HEADS[kind].settings()) for kind in HEADS),
    SCRATCH,
    replace(SCRATCH, model="moe", experts=2),
    BaselineConfig(model="tfidf_lr"),
    BaselineConfig(model="tfidf_mlp", hidden=8),
]
NETWORKS = [HEAD, SCRATCH]


@pytest.fixture(scope="module")
def encoded(small_corpus, tmp_path_factory):
    """A store's confidential folder with the corpus under a tiny backbone, and its parameters."""
    cache = cache_dir(tmp_path_factory.mktemp("store"))
    backbone = load_backbone(str(make_backbone(cache / "backbone")), cache)
    folder, _ = encode_features(
        small_corpus, backbone, cache, max_tokens=64, precision="fp32", device=CPU
    )
    return cache, folder, sum(p.numel() for p in backbone.model.parameters())


@pytest.fixture
def materials(encoded, tmp_path):
    cache, folder, _ = encoded
    return Materials(
        settings=TrainingSettings(max_epochs=3, patience=0, batch_limit=8, max_tokens=64),
        states=StateFolder(tmp_path / "trials"),
        cache=cache,
        features={"tiny": folder},
    )


def start(config, corpus, materials, *, known_epochs=0):
    assignment = Assignment(number=NUMBER, config=config, seed=11, known_epochs=known_epochs)
    return run_trial(assignment, corpus, materials, device=CPU, device_fraction=0.0)


def run(config, corpus, materials, **options):
    return list(start(config, corpus, materials, **options))


def numbers(report):
    values = report.to_dict()
    return {name: values[name] for name in values if not name.endswith("_seconds")}


def curve(steps):
    return [numbers(step.report) for step in steps if step.report]


def peaks(steps):
    return [step.report.peak_bytes or 0 for step in steps if step.report]


def folder_of(materials):
    return materials.states.folder(NUMBER)


# --- complete --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model)
def test_each_kind_of_config_runs_until_it_is_complete(config, small_corpus, materials):
    *before, last = run(config, small_corpus, materials)

    epochs = 1 if isinstance(config, BaselineConfig) else 3
    assert [s.outcome.state for s in before] == [State.RUNNING] * (epochs - 1)
    assert last.outcome.state is State.COMPLETE
    assert last.outcome.reason == ("fitted" if epochs == 1 else "all 3 epochs trained")
    assert [s.report.epoch for s in [*before, last] if s.report] == list(range(1, epochs + 1))
    assert all(0 <= told["f1"] <= 1 for told in curve([last]))
    assert (last.outcome.device, last.outcome.device_fraction) == ("cpu", 0.0)


def test_an_outcome_counts_what_trains_and_what_is_frozen(small_corpus, materials, encoded):
    *_, last = run(HEAD, small_corpus, materials)

    assert last.outcome.trainable_parameters == 2 * WIDTH + 2
    assert last.outcome.total_parameters == 2 * WIDTH + 2 + encoded[2]


@pytest.mark.parametrize("config", [SCRATCH, BaselineConfig()], ids=lambda c: c.model)
def test_without_a_backbone_all_parameters_train(config, small_corpus, materials):
    *_, last = run(config, small_corpus, materials)

    assert last.outcome.trainable_parameters
    assert last.outcome.trainable_parameters == last.outcome.total_parameters


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model)
def test_an_assignment_run_twice_gives_the_same_numbers(config, small_corpus, materials, tmp_path):
    elsewhere = replace(materials, states=StateFolder(tmp_path / "elsewhere"))

    one, other = run(config, small_corpus, materials), run(config, small_corpus, elsewhere)

    assert curve(one) == curve(other)


def test_early_stopping_completes_a_trial_with_its_reason(small_corpus, materials):
    settings = replace(materials.settings, patience=1)
    still = replace(HEAD, optimisation=Optimisation(learning_rate=0.0))

    *_, last = run(still, small_corpus, replace(materials, settings=settings))

    assert last.outcome.state is State.COMPLETE
    assert last.outcome.reason == "no better F1 for 1 epochs"


# --- failed ----------------------------------------------------------------------------------


def test_a_trial_that_diverges_fails_with_its_epoch(small_corpus, materials):
    config = replace(HEAD, optimisation=Optimisation(learning_rate=3e37, warmup_share=0.0))

    (step,) = run(config, small_corpus, materials)

    assert step.report is None
    assert step.outcome.state is State.FAILED
    assert step.outcome.reason == "diverged: the training loss of epoch 1 is not finite"


@pytest.mark.parametrize("error", [ValueError, KeyError, UnicodeError, AssertionError])
@pytest.mark.parametrize("place", ["build", "train", "save_checkpoint"])
def test_a_crash_fails_with_its_type_and_place_and_without_its_message(
    small_corpus, materials, monkeypatch, place, error
):
    def crash(*_, **__):
        raise error(f"cannot read {CANARY} of a note")

    if place == "build":
        monkeypatch.setattr(runner, "HeadModel", crash)
    else:
        monkeypatch.setattr(runner, place, crash)

    (step,) = run(HEAD, small_corpus, materials)

    assert step.outcome.state is State.FAILED
    assert step.outcome.reason.startswith(f"crashed: {error.__name__} at runner.py:")
    assert CANARY not in steps_to_json({0: step})


def test_a_crash_in_a_baseline_shows_nothing_of_the_notes(small_corpus, materials):
    texts = tuple(f"{CANARY} " for _ in small_corpus.texts)
    labels = small_corpus.labels * 0  # one class: nothing to learn

    (step,) = run(BaselineConfig(), replace(small_corpus, texts=texts, labels=labels), materials)

    assert step.outcome.reason.startswith("crashed: ValueError at baselines.py:")
    assert CANARY not in steps_to_json({0: step})


def test_a_crash_after_an_epoch_keeps_the_epochs_before(small_corpus, materials, monkeypatch):
    steps = start(HEAD, small_corpus, materials)
    first = next(steps)
    monkeypatch.setattr(runner, "save_checkpoint", lambda *_: 1 / 0)

    (failed,) = steps

    assert first.report is not None
    assert failed.outcome.reason.startswith("crashed: ZeroDivisionError")
    checkpoint = load_checkpoint(materials.states, NUMBER, runner.config_hash(HEAD))
    assert checkpoint is not None
    assert [r.epoch for r in checkpoint.reports] == [1]


# --- more memory than there is -----------------------------------------------------------------


def test_a_trial_that_takes_more_than_the_card_leaves_is_infeasible_with_its_excess(
    small_corpus, materials
):
    limit = peaks(run(SCRATCH, small_corpus, materials))[0] - 5000
    elsewhere = replace(
        materials, states=StateFolder(materials.states.root / "b"), limit_bytes=limit
    )

    (end,) = run(SCRATCH, small_corpus, elsewhere)

    assert end.report is None
    assert end.outcome.state is State.INFEASIBLE
    assert end.outcome.excess_bytes == 5000
    assert end.outcome.reason == (
        "measured: needs 65 MiB, 1 MiB more than the 65 MiB that the card leaves"
    )
    assert not elsewhere.states.root.exists()


@pytest.mark.parametrize("config", NETWORKS, ids=lambda c: c.model)
def test_a_trial_that_fits_tells_its_measured_peak_with_every_epoch(
    config, small_corpus, materials
):
    limited = replace(materials, limit_bytes=1748 * 2**20)

    told = peaks(run(config, small_corpus, limited))

    assert WORKSPACE_BYTES < told[0] < WORKSPACE_BYTES + 2**21
    assert told == [told[0]] * 3


@pytest.mark.parametrize("place", ["train", "save_checkpoint"])
def test_an_allocator_that_refuses_more_than_the_card_leaves_makes_a_trial_infeasible(
    small_corpus, materials, monkeypatch, place
):
    def refuse(*_, **__):
        torch.empty(10**15, dtype=torch.uint8)

    monkeypatch.setattr(runner, place, refuse)

    (step,) = run(HEAD, small_corpus, replace(materials, limit_bytes=10**9))

    assert step.outcome.state is State.INFEASIBLE
    assert step.outcome.excess_bytes == 10**15 - 10**9


@pytest.mark.parametrize("limit_bytes", [None, 10**9])
def test_a_machine_without_memory_ends_the_process_and_quotes_no_note(
    small_corpus, materials, monkeypatch, limit_bytes
):
    def crash(*_, **__):
        raise MemoryError(CANARY)

    monkeypatch.setattr(runner, "train", crash)
    steps = start(HEAD, small_corpus, replace(materials, limit_bytes=limit_bytes))

    told = next(steps)
    with pytest.raises(ShortOfMemoryError) as caught:
        next(steps)

    assert (told.report, told.outcome.state) == (None, State.RUNNING)
    assert told.outcome.reason == str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# -----------------------------------------------------------------------------------------------


def test_a_backbone_that_was_not_encoded_fails_the_trial_alone(small_corpus, materials):
    (step,) = run(replace(HEAD, backbone="other"), small_corpus, materials)

    assert step.outcome.reason.startswith("crashed: KeyError at runner.py:")


def test_an_interrupt_is_not_a_trials_failure(small_corpus, materials, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "train", interrupt)

    with pytest.raises(KeyboardInterrupt):
        run(HEAD, small_corpus, materials)


# --- killed and started again ----------------------------------------------------------------


@pytest.mark.parametrize("config", NETWORKS, ids=lambda c: c.model)
@pytest.mark.parametrize("trained", [1, 2])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_trial_goes_on_and_tells_again_what_was_not_heard(
    config, trained, lost, small_corpus, materials, tmp_path
):
    whole = run(config, small_corpus, replace(materials, states=StateFolder(tmp_path / "whole")))
    killed = start(config, small_corpus, materials)
    for _ in range(trained):
        next(killed)
    del killed

    again = run(config, small_corpus, materials, known_epochs=trained - lost)

    assert curve(again) == curve(whole)[trained - lost :]
    assert again[-1].outcome == whole[-1].outcome


@pytest.mark.parametrize("known_epochs", [0, 2, 3])
def test_a_trial_killed_after_its_last_epoch_ends_without_training(
    known_epochs, small_corpus, materials, monkeypatch
):
    whole = run(HEAD, small_corpus, materials)
    monkeypatch.setattr(runner, "save_checkpoint", pytest.fail)

    *told, last = run(HEAD, small_corpus, materials, known_epochs=known_epochs)

    assert curve(told) == curve(whole)[known_epochs:]
    assert [s.outcome.state for s in told] == [State.RUNNING] * (3 - known_epochs)
    assert numbers(last.report) == numbers(whole[-1].report)
    assert last.outcome.state is State.COMPLETE
    assert last.outcome.reason == "all epochs were trained before it was resumed"


def test_a_checkpoint_of_another_config_in_the_same_place_is_not_gone_on_with(
    small_corpus, materials, tmp_path
):
    run(replace(HEAD, dropout=0.5), small_corpus, materials)

    steps = run(HEAD, small_corpus, materials)

    elsewhere = replace(materials, states=StateFolder(tmp_path / "elsewhere"))
    assert curve(steps) == curve(run(HEAD, small_corpus, elsewhere))


def test_a_torn_checkpoint_begins_the_trial_anew(small_corpus, materials):
    whole = run(HEAD, small_corpus, materials)
    (checkpoint,) = folder_of(materials).glob("checkpoint-*")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])

    assert curve(run(HEAD, small_corpus, materials)) == curve(whole)


# --- what is kept ----------------------------------------------------------------------------


@pytest.mark.parametrize("config", NETWORKS, ids=lambda c: c.model)
def test_the_best_weights_are_those_of_the_best_epoch(config, small_corpus, materials):
    weights = {}
    reports = []
    for step in start(config, small_corpus, materials):
        assert step.report is not None
        reports.append(step.report)
        stored = load_checkpoint(materials.states, NUMBER, runner.config_hash(config))
        assert stored is not None
        weights[step.report.epoch] = stored.model

    best = best_report(reports)
    assert best is not None
    (saved,) = materials.states.find(NUMBER, Kind.BEST)
    kept = saved.tensors
    assert saved.epoch == best.epoch
    assert kept.keys() == weights[best.epoch].keys()
    assert all(torch.equal(kept[name], weights[best.epoch][name]) for name in kept)


def test_the_best_weights_give_the_score_again(small_corpus, materials):
    reports = [s.report for s in run(HEAD, small_corpus, materials) if s.report]
    network = runner.network_of(HEAD, small_corpus, materials)
    model = network.build().eval()
    (saved,) = materials.states.find(NUMBER, Kind.BEST)
    model.load_state_dict(saved.tensors)
    validation = small_corpus.indices(Part.VALIDATION)

    states, mask = network.inputs.batch(validation, CPU)
    predicted = model(states, mask).logits.argmax(dim=1).numpy()

    best = best_report(reports)
    assert best is not None
    assert (predicted == small_corpus.labels[validation]).mean() == pytest.approx(best.accuracy)


def test_weights_that_shall_not_be_kept_are_not_written(small_corpus, materials):
    settings = replace(materials.settings, keep_weights=False)

    run(HEAD, small_corpus, replace(materials, settings=settings))

    assert not list(materials.states.find(NUMBER, Kind.BEST))
    assert list(materials.states.find(NUMBER, Kind.CHECKPOINT))


def test_a_baseline_leaves_nothing_on_the_disk(small_corpus, materials):
    run(BaselineConfig(), small_corpus, materials)

    assert not materials.states.root.exists()


# --- what crosses to a worker and back -------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model)
def test_an_assignment_crosses_as_json(config):
    assignment = Assignment(number=3, config=config, seed=2**62, known_epochs=2)

    assert Assignment.from_json(assignment.to_json()) == assignment
    assert json.loads(assignment.to_json())["seed"] == 2**62


def test_a_step_crosses_as_json_with_and_without_a_report():
    report = EpochReport(
        epoch=1,
        f1=1 / 3,
        accuracy=0.5,
        precision=0.5,
        recall=0.5,
        validation_loss=0.7,
        train_loss=0.6,
        wall_seconds=0.1,
        cpu_seconds=0.1,
    )
    steps = [
        Step(report, Outcome(state=State.RUNNING, trainable_parameters=3, total_parameters=4)),
        Step(None, Outcome(state=State.FAILED, reason="crashed: ValueError at loop.py:1")),
        Step(None, Outcome(state=State.INFEASIBLE, reason="measured: needs", excess_bytes=7)),
        Step(replace(report, peak_bytes=5, energy_joules=0.5), Outcome(state=State.COMPLETE)),
    ]

    told = dict(enumerate(steps))
    assert steps_from_json(steps_to_json(told)) == told
