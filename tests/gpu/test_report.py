"""The report's logic on a played device: every section with small shapes, and what it then says."""

import doctest
import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch

from benchmarks import together as heads_together
from benchmarks.footprint_memory import configs
from headhunt.spaces.record import State
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.card.cap import Cap
from headhunt.trainables.card.cards import CARDS, MIB, CardError
from headhunt.trainables.card.memory import WORKSPACE_BYTES
from headhunt.trainables.runner import run_trial

from ..trainables.played_device import PlayedDevice
from . import cap, grouped, peaks, ratio, sections, times, together
from .facts import facts
from .machine import Context, Machine, Workspaces, gpu_workspaces
from .processes import ChildError, open_workers, run_order
from .report import Part, main, parts_of, report
from .scale import Scale, large_configs
from .sections import Deadline, Promise
from .study import make_study

TINY = Scale("tiny", layers=2, width=32, attention_heads=2, vocabulary=200, tokens=32, notes=4)
# Not those whose peak is the update: a copied encoder's original counts on a played device.
CHOSEN = ("last 2 layers, adamw", "lora, adamw", "full, adamw")
LARGE = tuple((name, config) for name, config in large_configs("tiny") if name in CHOSEN)
SMALL = tuple(
    (n, replace(c, vocabulary=200)) for n, c in configs() if n.endswith("width 32, adamw")
)
LONG = Deadline(1000)
OVER = Deadline(0)


class Meter:
    """A board that takes 12 joules a run."""

    def begin(self):
        pass

    def joules(self):
        return 12.0


class InThisProcess:
    """Workers that take turns."""

    def __init__(self, machine, limit_bytes, wrong=None):
        self.machine, self.cap = machine, Cap(limit_bytes, machine.functions)
        self.wrong = wrong

    def run(self, orders, seconds):
        assert seconds > 0
        found = []
        for order in orders:
            assignment = Assignment.from_json(order.assignment)
            if self.wrong == assignment.number:  # another seed: other numbers
                assignment = replace(assignment, seed=99)
            steps = run_trial(
                assignment,
                order.corpus,
                order.materials,
                device=self.machine.device,
                device_fraction=0.25,
                cap=self.cap,
            )
            found.append(list(steps))
        return found, 0.5 if len(orders) == 1 else 0.75


def played_machine(*, wrong=None, generous=0):
    """A device with workspaces standing in it; `generous` bytes of others that nothing explains."""
    device = PlayedDevice(64 * 1024 * MIB)
    device.alive[0] = WORKSPACE_BYTES + generous

    @contextmanager
    def workers(count, *, limit_bytes, fraction):
        yield InThisProcess(machine, limit_bytes, wrong)

    def apart(function, *given, environment=None, seconds=0.0):
        if function is gpu_workspaces:
            return Workspaces(32 * MIB, 32 * MIB, 0)
        raise ChildError("a played device has no allocator to set")

    def known():
        raise CardError("a played device has no data sheet")

    machine = Machine(
        device=torch.device("cpu"),
        functions=device,
        facts=lambda: [("device", "played")],
        calibrated=lambda: replace(CARDS["h200"], name="played"),
        known=known,
        meter=Meter,  # type: ignore[arg-type]
        apart=apart,
        open_workers=workers,  # type: ignore[arg-type]
        context=lambda: Context(300 * MIB, 500 * MIB),
        running=lambda: device,
    )
    return machine


@pytest.fixture
def machine():
    return played_machine()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("played"), TINY, notes=48)


def held(section):
    return [promise.held for promise in section.promises()]


def text(section):
    return "\n".join([*section.lines(), *(promise.line() for promise in section.promises())])


# --- the sections ----------------------------------------------------------------------------


def test_the_device_says_what_it_is_and_what_a_context_takes(machine):
    found = facts(machine, LONG)

    assert held(found) == [True]
    assert "| device | played |" in text(found)
    assert "500 of 300 MiB" not in text(found)
    assert "300 MiB outside the allocator with its first tensor, and 500 MiB after" in text(found)


def test_a_context_over_the_reserve_breaks_the_promise(machine):
    found = facts(replace(machine, context=lambda: Context(400 * MIB, 601 * MIB)), LONG)

    assert held(found) == [False]


def test_a_context_that_cannot_be_measured_leaves_the_rest(machine):
    def fails():
        raise ChildError("no answer")

    found = facts(replace(machine, context=fails), LONG)

    assert held(found) == [None]
    assert "| device | played |" in text(found)
    assert "ChildError: no answer" in text(found)


SIZES = cap.Sizes(
    limit=WORKSPACE_BYTES + 2 * MIB,
    wanted=WORKSPACE_BYTES + 3 * MIB,
    roomy=WORKSPACE_BYTES + 8 * MIB,
)


def test_a_trial_over_the_cap_is_infeasible_and_the_one_after_it_trains(machine, study):
    found = cap.capped(machine, LONG, study, SIZES)

    assert held(found) == [True, True, True, True]
    assert SIZES.limit < found.modelled_bytes <= SIZES.wanted
    assert [e.state for e in (found.first, found.large, found.second, found.roomy)] == [
        State.COMPLETE,
        State.INFEASIBLE,
        State.COMPLETE,
        State.COMPLETE,
    ]
    assert f"{found.notes} notes a batch" in text(found)
    assert machine.functions.limit == machine.functions.total  # the sections after have all of it


def test_a_cap_that_does_not_hold_is_told(machine, study, monkeypatch):
    monkeypatch.setattr(machine.functions, "set_limit", lambda _: None)

    found = cap.capped(machine, LONG, study, SIZES)

    assert held(found)[0] is False
    assert "**DOES NOT HOLD**: a trial that needs more than the cap ends infeasible" in text(found)


PEAKS = peaks.Plan(small=TINY, small_configs=SMALL, large=TINY, large_configs=LARGE)


def test_modelled_peaks_stand_beside_those_of_the_allocator(machine):
    found = peaks.peaks(machine, LONG, PEAKS)

    assert held(found) == [True, True]
    assert [p.name for p in found.large] == [*(name for name, _ in LARGE), "encoding, 8 notes"]
    for peak in found.large:  # without what stands there all the time
        modelled, measured = (
            size - WORKSPACE_BYTES for size in (peak.modelled_bytes, peak.allocated_bytes)
        )
        assert modelled == pytest.approx(measured, rel=0.1, abs=0.2 * MIB), peak
    assert [p.name for p in found.small] == [name for name, _ in SMALL]
    assert "32.0 MiB after a product, 32.0 MiB more after a backward pass" in text(found)
    assert "a played device has no allocator to set" in text(found)
    assert f"| full, adamw | {found.large[2].modelled_bytes / MIB:,.1f} |" in text(found)


def test_a_device_that_holds_more_than_the_footprint_says_breaks_both_promises():
    machine = played_machine(generous=8 * MIB)

    found = peaks.peaks(machine, LONG, replace(PEAKS, small_configs=(), large_configs=LARGE[:2]))

    assert held(found) == [False, False]
    assert "2 of 2 went over" in text(found)


def test_what_there_is_no_time_for_is_left_out_and_not_said_to_hold(machine):
    found = peaks.peaks(machine, OVER, PEAKS)

    assert held(found) == [None, None]
    assert f"after 0 of {len(LARGE) + 1}: the others are left out" in text(found)


TIMES = times.Plan(TINY, configs=(*LARGE[:2], *SMALL), training=16, validation=8, epochs=2)


def test_predicted_times_stand_beside_measured_ones(machine):
    found = times.times(machine, LONG, TIMES)

    assert [row.name for row in found.rows] == [name for name, _ in TIMES.configs]
    assert all(0 < row.hidden <= row.predicted and row.measured > 0 for row in found.rows)
    assert "Data sheet: a played device has no data sheet." in text(found)
    assert [p.text.split(" is at ")[0] for p in found.promises()] == [
        "the median error of the predicted time",
        "the rank correlation within each family",
    ]


@pytest.mark.parametrize(("factor", "expected"), [(1.2, [True, True]), (1.3, [False, True])])
def test_the_promise_of_time_is_about_the_calibrated_card(factor, expected):
    rows = [
        times.Timed(f"c{n}", "one", factor * n, 9.0 + n, 9.0 + n, measured=n) for n in range(1, 5)
    ]
    found = times.Times(
        replace(TIMES, configs=TIMES.configs[:4]), CARDS["h200"], CARDS["h200"], rows
    )

    assert held(found) == expected
    assert "| calibrated | " in text(found)
    assert "| data sheet | " in text(found)


def test_a_family_in_another_order_breaks_the_promise():
    rows = [times.Timed(f"c{n}", "one", 5 - n, n, None, measured=n) for n in range(1, 5)]
    found = times.Times(TIMES, CARDS["h200"], "none", rows)

    assert held(found)[1] is False


TOGETHER = together.Plan(at_once=(1, 2), limit_bytes=WORKSPACE_BYTES + 8 * MIB, trial_seconds=0.01)


def test_trials_side_by_side_are_set_against_one_alone(machine, study):
    found = together.side_by_side(machine, LONG, study, TOGETHER)

    assert held(found) == [True, True]
    assert [(kind.what, len(kind.runs)) for kind in found.kinds] == [
        ("adapter head, frozen backbone", 2),
        ("last 2 layers", 2),
    ]
    kind = found.kinds[0]
    alone, both = (kind.line(run) for run in kind.runs)
    assert alone[1:7] == ["1", "0.50", "7,200", "1.00", "24", "12"]
    assert both[1:7] == ["2", "0.75", "9,600", "1.33", "16", "6"]
    assert not list((study.folder / "trials").glob("together-*"))


def test_a_trial_with_other_numbers_than_alone_is_told(study):
    found = together.side_by_side(played_machine(wrong=1), LONG, study, TOGETHER)

    assert held(found) == [False, True]
    assert "NOT ALIKE" in text(found)


def test_the_encoder_is_set_against_the_small_model(machine):
    found = ratio.ratio(machine, LONG, ratio.Plan(TINY, 16, 8, epochs=2, vocabulary=200))

    first, *_, full, _ = found.rows
    assert (first.name, full.name, len(found.rows)) == ("MoE Transformer", "full, AdamW", 5)
    assert f"| full, AdamW | {full.predicted:,.2f} | {full.predicted / first.predicted:,.0f} |" in (
        text(found)
    )


HEADS = heads_together.Plan(training=16, validation=8, width=8, epochs=2, members=(1, 2, 4))


def test_heads_in_one_pass_are_set_against_one_alone(machine):
    found = grouped.grouped(machine, LONG, HEADS)

    assert held(found) == [True]
    assert [[g.members for g in kind.groups] for kind in found.kinds] == [[1, 2, 4]] * 3
    assert all(kind.times(kind.groups[0]) == 1.0 for kind in found.kinds)
    assert text(found).count("| 4 |") == 3


def test_a_head_with_other_losses_than_alone_is_told():
    groups = [heads_together.Group(1, 0.2, [0.5, 0.4]), heads_together.Group(2, 0.1, [0.5, 0.41])]
    found = grouped.Grouped([grouped.Kind("linear", groups, "")])

    assert held(found) == [False]
    assert "| linear | 2 | 100.00 | 2.00 |" in text(found)


def test_groups_that_there_is_no_time_for_are_left_out_and_not_said_to_hold(machine):
    found = grouped.grouped(machine, OVER, HEADS)

    assert held(found) == [None]
    assert "linear, pooled: time was over before 1 together" in text(found)


def test_the_examples_of_the_sections_hold():
    assert doctest.testmod(sections).failed == 0


# --- the report ------------------------------------------------------------------------------


class Found:
    def __init__(self, *promised):
        self.promised = promised

    def lines(self):
        yield "a line"

    def promises(self):
        return [Promise(f"promise {n}", held, "") for n, held in enumerate(self.promised)]


def told(parts, deadline=LONG):
    said = []
    status = report(parts, deadline, said.append)
    return status, "\n".join(said)


def test_a_section_that_fails_is_reported_and_the_rest_run():
    def fails(_):
        raise RuntimeError("the device is gone")

    status, said = told([Part("One", 1, fails), Part("Two", 1, lambda _: Found(True))])

    assert status == 1
    assert "RuntimeError: the device is gone" in said
    assert "## Two\n\na line\n\n- **holds**: promise 0" in said
    assert "1 of 1 promises hold.\n- **FAILED**: One" in said


@pytest.mark.parametrize(
    ("promised", "expected"), [((True, True), 0), ((True, False), 1), ((None,), 1), ((), 0)]
)
def test_the_exit_status_is_that_of_the_promises(promised, expected):
    status, said = told([Part("One", 1, lambda _: Found(*promised))])

    assert status == expected
    assert ("DOES NOT HOLD" in said) == (False in promised)


def test_a_section_that_there_is_no_time_for_is_missing():
    status, said = told([Part("One", 1, lambda _: Found(True))], OVER)

    assert status == 1
    assert "Time was over before it began." in said


def test_a_section_has_no_more_time_than_its_own():
    left = []

    def notes(deadline):
        left.append(deadline.left)
        return Found()

    told([Part("One", 5, notes), Part("Two", 5000, notes)], Deadline(100))

    assert left[0] <= 5
    assert 90 < left[1] <= 100


def test_the_parts_leave_a_margin_to_eight_minutes(machine, study):
    assert sum(part.seconds for part in parts_of(machine, lambda: study)) <= 450


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_without_a_gpu_the_command_says_so(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "gpu.md")]) == 2
    assert "there is no GPU" in capsys.readouterr().err


# --- processes -------------------------------------------------------------------------------


@pytest.mark.proof
def test_processes_of_their_own_train_the_same_trial_to_the_same_numbers(
    spawn, study, machine, tmp_path
):
    with open_workers(2, limit_bytes=WORKSPACE_BYTES + 64 * MIB) as pool:
        real = replace(
            machine,
            meter=lambda: None,
            open_workers=lambda *_, **__: nullcontext(pool),  # type: ignore[arg-type]
        )
        found = together.side_by_side(real, LONG, study, replace(TOGETHER, at_once=(1, 2)))
        with pytest.raises(ChildError, match="AttributeError"):
            pool.children[0].ask(run_order, None)

    assert held(found) == [True, True]


@pytest.mark.proof
def test_the_report_needs_neither_ray_nor_optuna():
    code = (
        "import sys; missing = ['ray', 'optuna', 'cmaes', 'typer', 'rich', 'pandas', 'pyarrow'];"
        "sys.modules.update(dict.fromkeys(missing)); import tests.gpu.report; print('imported')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )

    assert done.stdout == "imported\n", done.stderr
