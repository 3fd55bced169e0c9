import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from headhunt.analysis import trials
from headhunt.search import encoding, run
from headhunt.search.cli.search import app
from headhunt.search.executor.engine import EngineError, engine
from headhunt.search.executor.ray import (
    Hooks,
    _Bridge,
    _Interrupt,
    _PlanSearcher,
    _ReadyWorkers,
    _Tick,
)
from headhunt.search.groups import Groups
from headhunt.search.launch import prepare
from headhunt.search.plan import MOST_DEATHS, Budget, Turn, Watcher
from headhunt.search.run import Show, run_search
from headhunt.search.settings import Request
from headhunt.search.study import Study
from headhunt.spaces.catalogue import CONTROLS
from headhunt.spaces.heads import HEADS
from headhunt.spaces.record import Footprint, Role, State
from headhunt.trainables.card.cap import TooLargeError
from headhunt.trainables.training.states import Kind

from ..trainables.backbone_dirs import make_backbone
from .toys import write_notes

COMMAND_LINE = """
import sys
from headhunt.search.cli import main
try:
    main()
finally:
    print("imported:", sorted({"mlflow"} & sys.modules.keys()), file=sys.stderr)
"""
MEASURED = ["f1", "accuracy", "precision", "recall", "validation_loss_nats", "train_loss_nats"]
MINE = """
from headhunt.spaces.configs import HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead


def adapters(trial, options):
    rate = trial.suggest_float("rate", 1e-3, 0.3, log=True)
    return HeadConfig(backbone=options.backbones[0], head=AdapterHead(bottleneck=4),
        dropout=trial.suggest_float("dropout", 0, 0.5),
        optimisation=Optimisation(learning_rate=rate))


def small(trial):
    rate = trial.suggest_float("rate", 1e-3, 1e-2, log=True)
    return ScratchConfig(vocabulary=500, optimisation=Optimisation(learning_rate=rate))


def widths(trial):
    # Every other one is large.
    return ScratchConfig(vocabulary=500, width=8 if trial.number % 2 else 256, feed_forward=8,
        dropout=trial.suggest_float("dropout", 0, 0.9))


def vast(trial):
    # 300 terabytes in one tensor: no machine gives them.
    return ScratchConfig(model="moe", vocabulary=500, width=8, feed_forward=10**6, experts=10**7,
        dropout=trial.suggest_float("dropout", 0, 0.9))


def unsound(trial):
    # A third is too large for the card, a third diverges.
    kind = trial.number % 3
    return ScratchConfig(vocabulary=500, width=1024 if kind == 0 else 32,
        dropout=trial.suggest_float("dropout", 0, 0.9),
        optimisation=Optimisation(learning_rate=1e30 if kind == 1 else 1e-3, warmup_share=0.0))
"""
TINY_CARD = """
name = "tiny"
memory_bytes = 400_000_000
reserve_bytes = 300_000_000
flops = 1e12
bandwidth = 1e10
watts = 10
source = "made up"
"""


@pytest.fixture(scope="module")
def ray():
    """One Ray for the tests of this file."""
    with engine(cpus=2, gpus=0, address=None):
        yield


@pytest.fixture
def shared_ray(ray, monkeypatch):
    """Every search of a test runs in the Ray of this file."""
    monkeypatch.setattr(run, "engine", lambda **_: contextlib.nullcontext())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(make_backbone(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def lab(tmp_path):
    """A store with notes and spaces beside it."""
    write_notes(tmp_path / "notes.csv", 120)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "card.toml").write_text(TINY_CARD)
    return tmp_path


@pytest.fixture
def search(lab, shared_ray):
    """Runs a search and returns its plan and what was encoded."""

    def search(
        study="lab",
        *,
        budget,
        slots=2,
        together=1,
        resume=False,
        on_tick=lambda _: None,
        on_warning=lambda _: None,
        **given,
    ):
        settings = {"max_epochs": 2, "card": "none", "max_tokens": 32, **given}
        request = Request(
            notes=lab / "notes.csv",
            study=study,
            store=lab / "store",
            resume=resume,
            given={} if resume else settings,
            budget=budget,
            slots=slots,
            together=together,
        )
        encoded = []
        show = replace(silent([], encoded, on_tick), on_warning=on_warning)
        return run_search(prepare(request), show), encoded

    return search


def frame(lab, study="lab") -> pd.DataFrame:
    return trials(study, store=lab / "store")


def processes_under(pid: int) -> dict[int, str]:
    """Command lines of a process's descendants."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rsplit(")")[-1].split()[1]
            )
            commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    found, todo = {}, [pid]
    while todo:
        above = todo.pop()
        for child in (c for c, parent in parents.items() if parent == above):
            found[child] = commands.get(child, "")
            todo.append(child)
    return found


def workers() -> set[int]:
    """The processes of our Ray that train."""
    return {
        pid for pid, command in processes_under(os.getpid()).items() if "HeadhuntTrain" in command
    }


def test_a_search_meets_its_budget_with_every_model_and_encodes_once(lab, search, encoder):
    plan, encoded = search(space="all", backbones=(encoder,), budget=Budget(trials=11))

    found = plan.study.trials
    assert (len(found), plan.short) == (11, False)
    assert plan.over == "the budget of 11 trials is spent"
    assert {t.state for t in found} <= {State.COMPLETE, State.PRUNED}
    assert {t.config.model for t in found} == {
        *HEADS,
        "transformer",
        "moe",
        *(control.model for control in CONTROLS),
    }
    assert [t.role for t in found[:2]] == [Role.CONTROL] * 2
    assert [e.made for e in encoded] == [True]
    assert len(list((lab / "store").rglob("features-*/rows.npy"))) == 1


def test_warm_workers_train_one_trial_after_the_other_and_the_best_keep_their_weights(lab, search):
    of_others, seen = workers(), set()

    plan, _ = search(
        space=f"{lab}/mine.py:small",
        budget=Budget(trials=10),
        rungs=False,
        on_tick=lambda _: seen.update(workers()),
    )

    # Two at a time; Tune may give up a third that was still starting when a warm one came free.
    assert 1 <= len(seen - of_others) <= 3
    networks = [t for t in plan.study.trials if t.role is not Role.CONTROL]
    assert [t.state for t in networks] == [State.COMPLETE] * 8
    for trial in networks:
        (best,) = plan.study.states.find(trial.number, Kind.BEST)
        assert best.epoch == trial.outcome.best_epoch
    assert not list(plan.study.folder.rglob("checkpoint-*"))
    Study.open(lab / "store", "lab").close()  # nobody holds it any more


def test_workers_are_processes_that_ray_has_ready(lab, search, monkeypatch):
    get, asked = _ReadyWorkers.get, []

    def noted(*given):
        asked.append(get(*given))
        return asked[-1]

    monkeypatch.setattr(_ReadyWorkers, "get", noted)

    search(space=f"{lab}/mine.py:small", budget=Budget(trials=3))

    assert asked
    # With an environment of its own Ray would start another process for each.
    assert not [each for each in asked if each._default_options.get("runtime_env")]


def test_the_same_search_with_one_seed_and_one_slot_gives_the_same_numbers(lab, search, encoder):
    for study in ("first", "second"):
        search(study, space="all", backbones=(encoder,), budget=Budget(trials=9), slots=1, seed=4)

    first, second = frame(lab, "first"), frame(lab, "second")
    same = ["config_hash", "seed", "state", "epochs", *MEASURED]
    pd.testing.assert_frame_equal(first[same], second[same], check_exact=True)


@pytest.fixture
def groups(monkeypatch):
    """What the slots of a search are given, as it comes."""
    found, original = [], Groups.next

    def following(self):
        turn = original(self)
        if not isinstance(turn, Turn):
            found.append(turn)
        return turn

    monkeypatch.setattr(Groups, "next", following)
    return found


def test_heads_trained_together_have_the_numbers_of_heads_trained_alone(
    lab, search, encoder, groups
):
    given = {"space": f"{lab}/mine.py:adapters", "backbones": (encoder,), "sampler": "random"}
    for study, together in (("alone", 1), ("together", 3)):
        budget = Budget(trials=9)
        search(study, budget=budget, together=together, slots=1, rungs=False, **given)

    alone, together = frame(lab, "alone"), frame(lab, "together")

    assert [len(g) for g in groups] == [1] * 9 + [1, 1, 3, 3, 1]
    assert alone["group_size"].eq(1).all()
    assert together["group_size"].tolist() == [1] * 2 + [3] * 6 + [1]
    pd.testing.assert_frame_equal(alone[MEASURED], together[MEASURED], rtol=1e-4, atol=1e-5)
    assert (together["state"] == "complete").all()


def test_of_heads_trained_together_each_is_stopped_by_itself(lab, search, encoder, groups):
    plan, _ = search(
        space=f"{lab}/mine.py:adapters",
        backbones=(encoder,),
        budget=Budget(trials=14),
        together=12,
        slots=1,
        max_epochs=4,
        patience=0,
    )

    grouped = [t for t in plan.study.trials if t.role is not Role.CONTROL]
    ends = {t.number: (t.state, len(t.reports)) for t in grouped}
    assert {state for state, _ in ends.values()} == {State.COMPLETE, State.PRUNED}
    assert {epochs for state, epochs in ends.values() if state is State.COMPLETE} == {4}
    assert {epochs for state, epochs in ends.values() if state is State.PRUNED} <= {1, 2}
    assert [len(g) for g in groups] == [1, 1, 12]


def test_heads_that_cannot_train_as_one_are_told_and_trained_alone_from_then_on(
    lab, search, encoder, groups, monkeypatch
):
    given = {"space": f"{lab}/mine.py:adapters", "backbones": (encoder,), "sampler": "random"}
    roomy = f"{lab}/card.toml"
    search("sized", budget=Budget(trials=8), rungs=False, slots=1, card=roomy, **given)
    needed = int(frame(lab, "sized")["peak_mib"].max() * 2**20)
    (lab / "full.toml").write_text(TINY_CARD.replace("400_000_000", f"{300_000_000 + needed}"))
    monkeypatch.setattr(Groups, "_fit", lambda *_: True)
    groups.clear()
    warnings = []

    plan, _ = search(
        budget=Budget(trials=16),
        together=12,
        slots=1,
        rungs=False,
        on_warning=warnings.append,
        card=f"{lab}/full.toml",
        **given,
    )

    assert [t.state for t in plan.study.trials] == [State.COMPLETE] * 16
    assert [len(g) for g in groups] == [1, 1, 12, 1, 1]
    (warning,) = warnings
    assert re.match(
        r"12 heads go on one after the other, not together: measured: needs .* more than", warning
    )


def test_a_trial_whose_worker_is_killed_is_repeated_and_the_search_ends(lab, search):
    killed = []

    def kill_one(plan):
        training = [t for t in plan.study.trials if t.state is State.RUNNING and t.number > 2]
        if not killed and training and (found := workers()):
            killed.append(found.pop())
            os.kill(killed[0], signal.SIGKILL)

    plan, _ = search(
        space=f"{lab}/mine.py:small", budget=Budget(trials=7), rungs=False, on_tick=kill_one
    )

    assert killed
    assert [t.state for t in plan.study.trials] == [State.COMPLETE] * 7
    assert {len(t.reports) for t in plan.study.trials[2:]} == {2}


def command(lab, *options, space="small", trials=6):
    return [
        *("search", str(lab / "notes.csv"), "--study", "lab", "--store", str(lab / "store")),
        *("--space", f"{lab}/mine.py:{space}", "--max-epochs", "2", "--max-tokens", "32"),
        *("--trials", str(trials), *options),
    ]


def invoke(words):
    return CliRunner().invoke(app, words[1:])


def test_what_diverges_or_is_too_large_for_the_card_is_told_so_and_the_search_ends_well(
    lab, shared_ray
):
    result = invoke(command(lab, "--card", f"{lab}/card.toml", "--slots", "1", space="unsound"))

    assert result.exit_code == 0, result.stderr
    found = frame(lab)
    failed, infeasible = (found[found["state"] == s] for s in ("failed", "infeasible"))
    assert len(found) - len(infeasible) == 6
    assert set(failed["reason"]) == {"diverged: the training loss of epoch 1 is not finite"}
    assert failed["f1"].isna().all()
    assert set(infeasible["width"]) == {1024}
    assert (infeasible["excess_mib"] > 0).all()
    assert infeasible["f1"].isna().all()
    assert infeasible["epochs"].eq(0).all()


def test_a_trial_measured_over_the_card_is_infeasible_on_a_worker_that_trains_the_next(
    lab, search, monkeypatch
):
    # 65 MiB, of which 64 are the allowance for workspaces; the model is made to say that all fit.
    (lab / "card.toml").write_text(TINY_CARD.replace("400_000_000", f"{300_000_000 + 65 * 2**20}"))
    monkeypatch.setattr(Footprint, "excess_bytes", property(lambda _: -1))

    plan, _ = search(
        space=f"{lab}/mine.py:widths",
        card=f"{lab}/card.toml",
        budget=Budget(trials=4),
        slots=1,
        rungs=False,
    )

    assert [t.state for t in plan.study.trials[2:]] == [State.INFEASIBLE, State.COMPLETE] * 2
    found = frame(lab)
    large = found[found["state"] == "infeasible"]
    assert large["width"].eq(256).all()
    assert large["started_at"].notna().all()
    assert large["measured_excess_mib"].between(0, 10, inclusive="neither").all()
    assert large["reason"].str.fullmatch(r"measured: needs .* more than the 65 MiB .*").all()
    assert found["measured_peak_mib"].iloc[[3, 5]].lt(65).all()


def test_two_slots_meet_the_budget_though_trials_prove_too_large_to_the_end(
    lab, search, monkeypatch
):
    (lab / "card.toml").write_text(TINY_CARD.replace("400_000_000", f"{300_000_000 + 65 * 2**20}"))
    monkeypatch.setattr(Footprint, "excess_bytes", property(lambda _: -1))
    ticks = []

    plan, _ = search(
        space=f"{lab}/mine.py:widths",
        card=f"{lab}/card.toml",
        budget=Budget(trials=5),
        rungs=False,
        on_tick=lambda _: ticks.append(time.monotonic()),
    )

    states = [t.state for t in plan.study.trials]
    assert states.count(State.COMPLETE) == 5
    assert State.INFEASIBLE in states
    assert plan.over == "the budget of 5 trials is spent"
    assert len(ticks) < 10 * len(states) + 15 * (
        ticks[-1] - ticks[0]
    )  # it waits, and does not spin


@pytest.mark.proof  # three workers start: 40 s on a busy machine
def test_a_trial_for_which_a_machine_has_no_memory_is_tried_again_and_then_fails(lab, search):
    plan, _ = search(space=f"{lab}/mine.py:vast", budget=Budget(trials=3), slots=1)

    (trial,) = (t for t in plan.study.trials if t.role is not Role.CONTROL)
    assert trial.state is State.FAILED  # not infeasible: without a card nothing is
    assert trial.outcome
    assert trial.outcome.reason == (
        f"its process died {MOST_DEATHS} times: out of memory on this machine, and not for the "
        "trial's sake alone"
    )


def test_an_interrupted_search_ends_with_130_and_goes_on_without_repeating_a_trial(lab, shared_ray):
    environment = {**os.environ, "COLUMNS": "200"}
    words = [sys.executable, "-c", COMMAND_LINE]
    with subprocess.Popen(
        [*words, *command(lab, "--card", "none", trials=40)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        said = []
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            if re.match(r"trial 2 ", line):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
                break
        said += process.stderr
        assert process.wait(120) == 130, "".join(said)
        assert process.stdout
        assert process.stdout.read() == ""
    assert said.pop() == "imported: []\n"  # Tune imports every tracker to count some of them
    assert said[-1].startswith("interrupted: nothing that ended is lost; continue with")
    assert "Traceback" not in "".join(said)
    before = frame(lab)

    result = invoke(
        [
            *("search", str(lab / "notes.csv"), "--study", "lab", "--store", str(lab / "store")),
            *("--resume", "--trials", "12"),
        ]
    )

    assert result.exit_code == 0, result.stderr
    after = frame(lab)
    assert len(after) == after["config_hash"].nunique() == 12
    assert not (after["state"] == "running").any()
    ended = before[before["state"] != "running"]
    same = ["config_hash", "state", "epochs", "ended_at", *MEASURED]
    pd.testing.assert_frame_equal(ended[same], after.loc[ended.index, same], check_exact=True)


@pytest.mark.parametrize("idle", [True, False])
def test_after_ctrl_c_no_trial_is_asked_for(idle):
    interrupt = _Interrupt()
    bridge: Any = _Bridge(*[cast("Any", None)] * 4)  # none of which it comes to
    searcher = _PlanSearcher(bridge, _Tick(bridge, cast("Any", None), None, Hooks(), interrupt))
    bridge.running = {} if idle else {"one": {0}}
    interrupt.asked = True

    # Of an idle search nothing else would run; elsewhere the next tick ends it.
    with pytest.raises(KeyboardInterrupt) if idle else contextlib.nullcontext():
        assert searcher.suggest("two") is None


def test_a_cluster_that_does_not_answer_is_told_at_once():
    with (
        pytest.raises(EngineError, match=r"could not be reached at '127.0.0.1:1': .*refused"),
        engine(cpus=1, gpus=0, address="127.0.0.1:1"),
    ):
        pass


def silent(plans, encoded, on_tick):
    return Show(
        watcher=Watcher(),
        on_encoding=lambda *_: None,
        on_encoded=encoded.append,
        on_plan=lambda plan, _: plans.append(plan),
        on_tick=lambda: on_tick(plans[0]),
    )


def test_a_second_study_of_the_same_texts_finds_them_encoded(lab, encoder):
    table = (lab / "notes.csv").read_text()
    (lab / "others.csv").write_text(table.replace(",quiet", ",calm"))
    files = {
        "first": "notes.csv",
        "again": "notes.csv",
        "split": "notes.csv",
        "named": "others.csv",
    }
    encoded, features, tokens, digests = [], [], [], set()
    for (study, file), space in product(files.items(), ("heads", "finetune")):
        settings = {"space": space, "backbones": (encoder,), "card": "none", "max_tokens": 32}
        seed = {"seed": 7} if study == "split" else {}
        prepared = prepare(
            Request(
                notes=lab / file,
                study=f"{study}-{space}",
                store=lab / "store",
                given={**settings, **seed},
            )
        )
        shared = run._encode(prepared, silent([], encoded, lambda _: None))
        features += shared.materials.features.values()
        tokens += shared.materials.tokens.values()
        digests.add(prepared.corpus.digest)
        prepared.study.close()

    assert [e.made for e in encoded] == [True, False, False, False]
    assert features == [features[0]] * 4
    assert tokens == [tokens[0]] * 4
    assert len(digests) == 3


@pytest.fixture
def refused_encoding(monkeypatch):
    """The encoding asks for more memory than any card has."""

    def refuse(*_, **__):
        torch.empty(10**15, dtype=torch.uint8)

    monkeypatch.setattr(encoding, "encode_features", refuse)


@pytest.mark.parametrize("card", ["p620", "none"])
def test_a_backbone_too_large_to_encode_with_costs_its_heads_alone(
    lab, search, encoder, card, monkeypatch
):
    refused = TooLargeError(2 * 10**9, 10**9, "the card leaves")
    monkeypatch.setattr(encoding.Job, "encode", lambda *_: refused)

    plan, encoded = search(space="all", backbones=(encoder,), budget=Budget(trials=5), card=card)

    assert (encoded, plan.short) == ([], False)
    heads = [t for t in plan.study.trials if t.config.model in HEADS]
    others = [t for t in plan.study.trials if t.config.model not in HEADS]
    assert {t.state for t in heads} == {State.INFEASIBLE}
    assert {t.state for t in others} <= {State.COMPLETE, State.PRUNED}
    assert {t.outcome.excess_bytes for t in heads if t.outcome} == {10**9}
    found = frame(lab)
    heads_of = found[found["state"] == "infeasible"]
    assert set(heads_of["reason"]) == {
        "measured: needs 1907 MiB, 954 MiB more than the 954 MiB that the card leaves (encoding "
        "the notes with its backbone)"
    }
    assert heads_of["measured_excess_mib"].eq(10**9 / 2**20).all()


def test_an_encoding_that_the_card_cannot_hold_is_told_once_with_the_backbone_and_no_note(
    lab, encoder, refused_encoding
):
    settings = {"space": "heads", "backbones": (encoder,), "card": "p620", "max_tokens": 32}
    prepared = prepare(
        Request(notes=lab / "notes.csv", study="lab", store=lab / "store", given=settings)
    )
    said = []

    shared = run._encode(prepared, replace(silent([], [], lambda _: None), on_warning=said.append))
    prepared.study.close()

    assert shared.materials.features == {}
    assert shared.too_large[encoder].excess_bytes > 10**14
    (warning,) = said
    assert re.match(
        r"the notes cannot be encoded with .* MiB more than the 1748 MiB that the card leaves\)",
        warning,
    )


def test_an_encoding_for_which_others_left_no_memory_can_be_waited_for(
    lab, shared_ray, encoder, monkeypatch
):
    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(encoding, "encode_features", refuse)

    result = invoke(
        [
            *command(lab, trials=3)[:6],
            *("--space", "heads", "--backbone", encoder, "--max-tokens", "32"),
        ]
    )

    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: encoding the notes with the backbone ")
    assert "wait until it is free, then continue with `headhunt search" in last


@pytest.mark.parametrize(
    ("objective", "rungs"), [(("f1",), (1, 2, 4, 8)), (("f1", "card-hours"), ())]
)
def test_two_objectives_have_no_rungs_and_one_has(lab, objective, rungs):
    settings = {"space": "scratch", "objective": objective}
    prepared = prepare(
        Request(notes=lab / "notes.csv", study="lab", store=lab / "store", given=settings)
    )

    shared = run._encode(prepared, silent([], [], lambda _: None))
    plan = run._plan(prepared, shared, silent([], [], lambda _: None), lambda: 0.0)

    assert plan._rungs.epochs == rungs
    plan.close()
    prepared.study.close()
