import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from headhunt.search import sampling
from headhunt.search.fits import Fits
from headhunt.search.fitting_tpe import _Asked
from headhunt.search.sampling import (
    SAMPLERS,
    Proposer,
    SpaceError,
)
from headhunt.search.space_checks import check_sampler, check_space, is_conditional
from headhunt.search.study import Trial
from headhunt.spaces.catalogue import CONTROLS, SPACES, Space, SpaceOptions
from headhunt.spaces.configs import HeadConfig, config_hash
from headhunt.spaces.heads import HEADS
from headhunt.spaces.record import Outcome, Role, State
from headhunt.trainables.models.empty import build_empty

from .toys import EIGHTEEN, FAMILIES, NUMBERS, epoch_report, footprint, scratch

OPTIONS = SpaceOptions(backbones=("some/encoder",))


class Searched:
    """A proposer with the trials that came of it, as a plan would have them."""

    def __init__(self, space, sampler="tpe", *, seed=0, trials=(), objective=("f1",)):
        self.trials = list(trials)
        self.proposer = Proposer(
            space,
            sampler=sampler,
            seed=seed,
            objective=objective,
            trials=self.trials,
            values=lambda t: [t.reports[0].f1, t.card_hours][: len(objective)],
        )

    def propose(self):
        proposal = self.propose_or_none()
        assert proposal
        return proposal

    def propose_or_none(self):
        known = {t.config for t in self.trials}
        return self.proposer.propose(len(self.trials), known.__contains__)

    def run(self, f1=lambda _: 0.5, *, state=State.COMPLETE):
        """The next proposal as a trial that ended."""
        trial = self.run_or_none(f1, state=state)
        assert trial
        return trial

    def run_or_none(self, f1=lambda _: 0.5, *, state=State.COMPLETE):
        """The same; None where no config is left."""
        proposal = self.propose_or_none()
        if proposal is None:
            return None
        infeasible = state is State.INFEASIBLE
        need = footprint(excess_mib=10 if infeasible else -10)
        trial = Trial(
            number=len(self.trials),
            config=proposal.config,
            config_hash=config_hash(proposal.config),
            role=proposal.role,
            seed=0,
            footprint=need,
            sampled=proposal.sampled,
        )
        self.trials.append(trial)
        if state is State.RUNNING:
            self.proposer.accept(proposal, trial)
            return trial
        trial.outcome = Outcome(state=state)
        if infeasible:
            self.proposer.refuse(proposal, need)
            return trial
        trial.reports = [epoch_report(1, f1(trial.config))]
        self.proposer.accept(proposal, trial)
        self.proposer.settle(trial)
        return trial

    @property
    def configs(self):
        return [t.config for t in self.trials]

    @property
    def view(self):
        return self.proposer._view.get_trials(deepcopy=False)


def good_rate(config):
    """Best where the learning rate is 1e-3."""
    return 1 / (1 + abs(config.optimisation.learning_rate - 1e-3) * 1e3)


def after(count, space=NUMBERS, sampler="tpe", **options):
    searched = Searched(space, sampler, **options)
    for _ in range(count):
        searched.run(good_rate)
    return searched


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_configs_of_the_space_and_none_twice(sampler):
    configs = after(16, sampler=sampler).configs

    assert len(set(configs)) == 16
    assert all(1e-4 <= c.optimisation.learning_rate <= 1e-2 for c in configs)
    assert all(0.0 <= c.dropout <= 0.5 for c in configs)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_the_same_for_the_same_seed_and_number(sampler):
    assert after(15, sampler=sampler).configs == after(15, sampler=sampler).configs


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_something_else_for_another_seed(sampler):
    assert after(3, sampler=sampler, seed=1).configs != after(3, sampler=sampler, seed=2).configs


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("count", [3, 14])  # before and after the start-up
def test_every_sampler_when_restored_goes_on_and_repeats_nothing(sampler, count):
    before = after(count, sampler=sampler)

    restored = Searched(NUMBERS, sampler, trials=before.trials)
    for _ in range(5):
        restored.run(good_rate)

    assert len(set(restored.configs)) == count + 5


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsga2"])
def test_a_restored_sampler_proposes_what_the_one_that_never_stopped_does(sampler):
    before = after(14, sampler=sampler)
    whole = [*before.trials]

    restored = Searched(NUMBERS, sampler, trials=whole)

    assert restored.propose().config == before.propose().config


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("state", [State.PRUNED, State.FAILED, State.INFEASIBLE, State.RUNNING])
def test_every_sampler_goes_on_after_trials_that_did_not_complete(sampler, state):
    searched = after(12, sampler=sampler)
    for _ in range(3):
        searched.run(good_rate, state=state)

    assert len({*searched.configs, searched.propose().config}) == 16


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_two_objectives_have_trials_of_every_state(sampler):
    searched = after(12, sampler=sampler, objective=("f1", "card-hours"))
    for state in (State.FAILED, State.INFEASIBLE, State.RUNNING):
        searched.run(good_rate, state=state)

    assert len({*searched.configs, searched.propose().config}) == 16


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_exhausts_a_space_of_18_points_and_repeats_none(sampler, monkeypatch):
    monkeypatch.setattr(sampling, "TRIES", 2)  # a proposal of GP takes a tenth of a second
    searched = Searched(EIGHTEEN, sampler)

    while searched.run_or_none(lambda config: config.width / 128):
        assert len(searched.trials) <= 18

    assert len(set(searched.configs)) == 18


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_a_small_space_is_exhausted_whatever_the_seed(seed):
    searched = Searched(EIGHTEEN, "random", seed=seed)

    while searched.run_or_none():
        pass

    assert len(set(searched.configs)) == 18


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_gp_and_cmaes_are_refused_on_a_conditional_space_with_the_reason(sampler):
    with pytest.raises(
        SpaceError,
        match=rf"sampler '{sampler}' models only .* samples the rest at random, and the space "
        r"'families' is conditional: use --sampler tpe",
    ):
        check_sampler(sampler, FAMILIES, ["f1"])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_taken_on_a_space_without_conditions(sampler):
    check_sampler(sampler, NUMBERS, ["f1"])


def test_cmaes_is_refused_for_two_objectives():
    with pytest.raises(SpaceError, match="'cmaes' has one objective; use tpe, gp or nsga2"):
        check_sampler("cmaes", NUMBERS, ["f1", "card-hours"])


def test_an_unknown_sampler_is_refused_with_those_that_there_are():
    with pytest.raises(SpaceError, match=r"one of \['tpe', 'random', .*\]; got 'grid'"):
        check_sampler("grid", NUMBERS, ["f1"])


@pytest.mark.parametrize(
    ("name", "conditional"), [("heads", True), ("scratch", True), ("all", True)]
)
def test_the_spaces_of_the_catalogue_are_seen_for_what_they_are(name, conditional):
    assert is_conditional(SPACES[name](OPTIONS)) is conditional


@pytest.mark.parametrize("name", SPACES)
def test_controls_come_first_and_the_sampler_never_sees_them(name):
    searched = Searched(SPACES[name](OPTIONS))
    for _ in CONTROLS:
        searched.run()

    assert tuple(searched.configs) == CONTROLS
    assert {t.role for t in searched.trials} == {Role.CONTROL}
    assert searched.view == []


@pytest.mark.parametrize("name", SPACES)
def test_restored_controls_are_not_in_the_view_and_not_proposed_again(name):
    space = SPACES[name](OPTIONS)
    before = Searched(space)
    before.run()

    restored = Searched(space, trials=before.trials)

    assert restored.view == []
    assert restored.run().config == CONTROLS[1]
    assert restored.run().role is not Role.CONTROL


def test_references_come_before_the_search_one_for_each_model_with_the_official_values():
    searched = after_controls = Searched(SPACES["all"](OPTIONS))
    for _ in range(len(CONTROLS) + 7):
        searched.run()

    references = after_controls.trials[len(CONTROLS) :]
    assert {t.role for t in references} == {Role.REFERENCE}
    assert [t.config.model for t in references] == [*HEADS, "transformer", "moe"]
    heads: dict[str, Any] = {
        t.config.model: t.config.head for t in references if isinstance(t.config, HeadConfig)
    }
    assert (heads["adapter"].bottleneck, heads["adapter"].activation) == (64, "gelu")
    assert (heads["lightweight"].bottleneck, heads["lightweight"].variant) == (256, "residual")
    assert heads["tiny_attention"].attention_width == 1
    assert heads["grn"].bottleneck == 0  # the backbone's own width
    assert searched.run().role is Role.SEARCH


def test_restored_references_are_not_proposed_again():
    space = SPACES["heads"](OPTIONS)
    before = Searched(space)
    for _ in range(len(CONTROLS) + 2):
        before.run()

    restored = Searched(space, trials=before.trials)

    proposal = restored.propose()
    assert (proposal.role, proposal.config.model) == (Role.REFERENCE, list(HEADS)[2])


ASKED = ["linear", "transformer", "moe"] * 2  # LoRA is the linear head in mode lora


def named(space):
    """All that the space names, run."""
    searched = Searched(space)
    for _ in range(space.first_trials):
        searched.run()
    return searched


def test_what_a_space_asks_for_follows_its_references_and_the_sampler_fills_the_rest():
    space = SPACES["study"](OPTIONS)
    asked = named(space).trials[-len(ASKED) :]

    assert [t.config.model for t in asked] == ASKED
    assert {t.role for t in asked} == {Role.SEARCH}
    rates = {t.config.optimisation.learning_rate for t in asked}
    assert len(rates) == len(ASKED)
    assert asked[0].config.mode == asked[3].config.mode == "lora"


@pytest.mark.parametrize("more", [1, 4])
def test_a_restored_search_asks_for_what_was_not_asked_for_yet(more):
    space = SPACES["study"](OPTIONS)
    whole = named(space).trials
    before = whole[: len(whole) - len(ASKED) + more]

    restored = Searched(space, trials=before)
    configs = [restored.run().config for _ in ASKED[more:]]

    assert configs == [t.config for t in whole[-len(ASKED) :]][more:]


def test_what_is_asked_for_and_was_all_tried_ends_no_search():
    searched = Searched(replace(EIGHTEEN, asked=({"width": 32},) * 18), "random")

    while searched.run_or_none():
        pass

    assert len(set(searched.configs)) == 18


def test_only_complete_and_pruned_trials_have_a_value_in_the_view():
    searched = Searched(NUMBERS, "random")
    for state in State:
        searched.run(good_rate, state=state)

    by_state = dict(zip(State, searched.view, strict=True))
    assert by_state[State.COMPLETE].state is TrialState.COMPLETE
    assert by_state[State.PRUNED].intermediate_values
    for state in (State.FAILED, State.INFEASIBLE, State.RUNNING):
        assert by_state[state].values is None
        assert by_state[state].intermediate_values == {}


def test_an_infeasible_trial_is_failed_in_the_view_and_known_by_its_excess():
    searched = Searched(NUMBERS, "random")
    searched.run(state=State.INFEASIBLE)

    assert (searched.view[0].state, searched.view[0].constraints) == (TrialState.FAIL, {})
    assert list(searched.proposer._fits._known.values()) == [math.log(1758 / 1748)]


def test_a_restored_view_says_of_each_trial_what_the_first_one_said():
    before = Searched(NUMBERS, "random")
    for state in State:
        before.run(good_rate, state=state)

    restored = Searched(NUMBERS, "random", trials=before.trials)

    def said(view):
        return [(t.state, t.values, t.params, t.constraints, t.intermediate_values) for t in view]

    assert said(restored.view) == said(before.view)


def test_tpe_learns_from_what_completed():
    """Most proposals after forty trials are within a factor of 2 of the best rate."""
    searched = after(40)

    found: list[Any] = [searched.run(good_rate).config for _ in range(10)]

    rates = [config.optimisation.learning_rate for config in found]
    assert sum(5e-4 <= rate <= 2e-3 for rate in rates) >= 6


def raises(trial):
    trial.suggest_float("rate", 0, 1)
    raise KeyError("bert")


@pytest.mark.parametrize(
    ("suggest", "message"),
    [
        (
            raises,
            r"the space 'mine' failed: KeyError at test_sampling.py:\d+ \(what it says is not",
        ),
        (lambda trial: trial.suggest_float("rate", 2, 1), "the space 'mine' failed: ValueError"),
        (lambda _: None, "the space 'mine' must return a config .* got NoneType"),
        (lambda _: {"rate": 1}, "the space 'mine' must return a config .* got dict"),
        (
            lambda _: HeadConfig(backbone="elsewhere", head=HEADS["linear"].settings()),
            "the backbone 'elsewhere', which is none of the study's: add --backbone elsewhere",
        ),
    ],
)
def test_a_space_function_that_does_not_give_a_config_is_a_space_error(suggest, message):
    space = Space("mine", suggest, controls=())

    with pytest.raises(SpaceError, match=message):
        check_space(space, ("some/encoder",), lambda _: None)


def test_a_space_function_that_fails_only_later_is_a_space_error_then():
    calls: Iterator[Any] = iter([scratch(), None])
    searched = Searched(Space("mine", lambda _: next(calls), controls=()))
    searched.run()

    with pytest.raises(SpaceError, match="must return a config"):
        searched.run()
    with pytest.raises(SpaceError, match="the space 'mine' failed: StopIteration"):
        searched.run()


def test_every_space_of_the_catalogue_is_a_sound_one():
    for make in SPACES.values():
        check_space(make(OPTIONS), OPTIONS.backbones, lambda c: build_empty(c, 256))


@pytest.fixture
def small_view(monkeypatch):
    monkeypatch.setattr(sampling, "VIEW_TRIALS", 20)
    monkeypatch.setattr(sampling, "VIEW_BEST", 5)


@pytest.mark.usefixtures("small_view")
@pytest.mark.parametrize("objective", [("f1",), ("f1", "card-hours")])
def test_a_view_keeps_the_best_and_the_latest_and_never_grows_beyond_its_limit(objective):
    searched = Searched(NUMBERS, "tpe", objective=objective)
    sizes = []
    for _ in range(90):
        searched.run(good_rate)
        sizes.append(len(searched.view))

    assert max(sizes) <= 20
    assert len(set(searched.configs)) == 90
    values = {tuple(trial.values) for trial in searched.view if trial.values}
    assert max(good_rate(config) for config in searched.configs) in {v[0] for v in values}


@pytest.mark.usefixtures("small_view")
def test_what_runs_stays_in_a_view_that_is_cut_and_is_told_there():
    searched = after(5)
    running = searched.run(good_rate, state=State.RUNNING)
    for _ in range(40):
        searched.run(good_rate)

    running.outcome = Outcome(state=State.COMPLETE)
    running.reports = [epoch_report(1, 0.123)]
    searched.proposer.settle(running)

    assert [trial.values for trial in searched.view if trial.values == [0.123]] == [[0.123]]
    assert not [t for t in searched.view if t.state is TrialState.RUNNING]


@pytest.mark.usefixtures("small_view")
def test_failed_trials_and_refusals_leave_a_view_that_is_cut():
    searched = after(5)
    for _ in range(10):
        searched.run(good_rate, state=State.FAILED)
        searched.run(good_rate, state=State.INFEASIBLE)

    searched.run(good_rate)

    states = [trial.state for trial in searched.view]
    assert len(states) < 20
    assert states.count(TrialState.COMPLETE) == 6


@pytest.mark.usefixtures("small_view")
def test_of_those_that_run_the_view_has_the_latest_and_hears_how_the_others_end(monkeypatch):
    monkeypatch.setattr(sampling, "VIEW_RUNNING", 3)
    searched = after(15)
    running = [searched.run(good_rate, state=State.RUNNING) for _ in range(12)]
    assert sum(t.state is TrialState.RUNNING for t in searched.view) < 12

    for trial in running:
        trial.outcome = Outcome(state=State.COMPLETE)
        trial.reports = [epoch_report(1, 0.5 + trial.number / 100)]
        searched.proposer.settle(trial)

    told = {t.values[0] for t in searched.view if t.values}
    assert told >= {0.5 + trial.number / 100 for trial in running}
    assert not [t for t in searched.view if t.state is TrialState.RUNNING]


@pytest.mark.parametrize("objective", [("f1",), ("f1", "card-hours")])
@pytest.mark.parametrize("state", [State.COMPLETE, State.PRUNED, State.FAILED, State.INFEASIBLE])
def test_a_trial_that_the_view_had_forgotten_ends_in_it_as_one_that_it_showed(state, objective):
    ends = []
    for forgotten in (False, True):
        searched = Searched(NUMBERS, objective=objective)
        trial = searched.run(state=State.RUNNING)
        trial.outcome = Outcome(state=state)
        trial.reports = [epoch_report(1, 0.6), epoch_report(2, 0.4)]
        if forgotten:
            live = searched.proposer._live
            live[0] = replace(live[0], live=None)
        searched.proposer.settle(trial)
        last = searched.view[-1]
        ends.append(
            (last.state, last.values, last.params, last.intermediate_values, last.constraints)
        )

    assert ends[0] == ends[1]


def test_a_tpe_that_knows_much_draws_for_several_proposals_at_once(monkeypatch):
    monkeypatch.setattr(sampling, "RESULTS_A_PROPOSAL", 10)
    made = []
    original = sampling.make_sampler
    monkeypatch.setattr(
        sampling, "make_sampler", lambda *a, **k: made.append(k) or original(*a, **k)
    )

    searched = after(100)

    assert len(made) < 50
    assert max(k["proposals"] for k in made) >= 9
    assert len(set(searched.configs)) == 100


def test_a_parameter_that_no_trial_had_is_sampled_in_each_of_several_proposals():
    def suggest(trial) -> Any:
        trial.suggest_float("rate", 0, 1)
        return trial.suggest_float("new", 0, 1) if trial.number >= 12 else 0

    space = Space("new", suggest)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.optimize(suggest, n_trials=12)
    study.sampler = sampling.make_sampler("tpe", 0, space, Fits(), proposals=3)

    drawn = [suggest(study.ask()) for _ in range(3)]

    assert len(set(drawn)) == 3


def test_what_a_space_reads_back_is_what_it_was_given():
    def space(trial):
        trial.suggest_int("blocks", 1, 2)
        trial.suggest_categorical("kind", ["a", "b"])
        if trial.params == {"blocks": 2, "kind": "b"}:
            trial.suggest_float("rate", 0.0, 1.0)

    trial = _Asked({"kind": "b", "rate": 0.5, "blocks": 2, "other": 1}.__getitem__, 7)
    space(trial)

    assert list(trial.params.items()) == [("blocks", 2), ("kind", "b"), ("rate", 0.5)]
    assert trial.number == 7
    with pytest.raises(KeyError):
        trial.suggest_int("missing", 0, 1)
