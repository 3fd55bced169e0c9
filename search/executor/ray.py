"""Run a plan's trials with Ray Tune, on this machine or on a cluster.

Tune is the engine and never the truth: its searcher asks the plan, its scheduler tells the plan,
and its own files are thrown away. Every run of a search is a new Tune run over the same study.
"""

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution.class_cache import _ActorClassCache
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache

from ...spaces.configs import BaselineConfig
from ...spaces.record import State
from ...trainables.assignment import Assignment, Materials
from ...trainables.notes.corpus import Corpus
from ...trainables.steps import Step
from ...trainables.trainable import (
    ASSIGNMENTS,
    ENVIRONMENT,
    HELD,
    STEPS,
    WARNING,
    HeadhuntTrainable,
    steps_from_json,
)
from ..groups import Groups
from ..layout import Layout, Node, NodeSlots
from ..plan import Plan, Turn
from ..slots import Held, Slots
from .courier import Courier
from .engine import StorageError
from .nodes import Nodes

NODES_SECONDS = 3.0  # between two looks at which nodes there are
BUNDLE, NODE = "bundle", "node"  # keys of Tune's config
NODE_LABEL = "ray.io/node-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a running plan tells, between two decisions."""

    on_tick: Callable[[], None] = lambda: None  # ten times a second; may raise to end the search
    on_wait: Callable[[str], None] = lambda _: None  # for what memory; "": no longer
    on_layout: Callable[[Layout], None] = lambda _: None  # a node has joined or gone
    on_warning: Callable[[str], None] = lambda _: None  # of a node that cannot be used


def run_plan(
    plan: Plan,
    corpus: Corpus,
    materials: Materials,
    *,
    layout: Layout,
    nodes: Nodes | None = None,
    limit: int | None = None,
    together: int = 1,
    courier: Courier | None = None,
    started_here: bool = False,
    lay_out: Callable[[list[Node]], Layout] | None = None,
    hooks: Hooks | None = None,
) -> None:
    """Run the plan's trials in the slots of the layout until it is over.

    `lay_out` makes the layout of nodes that join later, under `limit` slots over all; without it
    they are not used. A slot takes at most `together` trials that can be trained in one pass. The
    `courier` brings what workers need to their nodes; without one it is there. Workers of a Ray
    that was `started_here` have this process's environment already. When a hook ends the search by
    raising, running trials stay so in the study, and the next run continues them.

    Raises:
        StorageError: a trial could not write or read what it needs.
        KeyboardInterrupt: Ctrl-C, at a moment at which nothing is half decided.
    """
    nodes, hooks = nodes or Nodes(), hooks or Hooks()
    slots = Slots(layout, limit=limit, look=nodes.free_bytes, clock=time.monotonic)
    interrupted = _Interrupt()
    groups = Groups(plan, together, lambda: slots.most)
    bridge = _Bridge(plan, groups, slots, hooks.on_warning)
    tick = _Tick(bridge, nodes, lay_out, hooks, interrupted)
    trainable = tune.with_resources(
        tune.with_parameters(
            HeadhuntTrainable, corpus=corpus, materials=materials, courier=courier
        ),
        _bundle,
    )
    scratch = Path(tempfile.mkdtemp(prefix="headhunt-tune-"))
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_PlanSearcher(bridge, tick),
            scheduler=_PlanScheduler(bridge, tick, started_here=started_here),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(scratch),
            name="run",
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        with interrupted:
            tuner.fit()
    finally:
        nodes.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if bridge.error is not None:
        raise bridge.error


def _config(group: Sequence[Assignment], part: NodeSlots) -> dict[str, Any]:
    """What Tune carries of a group of trials: all of it text."""
    bundle = {"CPU": part.cpus}
    if part.gpu_fraction and not isinstance(group[0].config, BaselineConfig):
        bundle["GPU"] = part.gpu_fraction
    return {
        ASSIGNMENTS: json.dumps([one.to_json() for one in group]),
        BUNDLE: json.dumps(bundle),
        NODE: part.node.id,
        ENVIRONMENT: json.dumps(dict(part.environment)),
    }


def _bundle(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """The trial's share, on its node: equal for all trials that a warm worker may run in turn."""
    return tune.PlacementGroupFactory(
        [json.loads(config[BUNDLE])], bundle_label_selector=[{NODE_LABEL: config[NODE]}]
    )


class _WarmWorkers(_ObjectCache):
    """Keeps each worker whose trial has ended for the next one on its node.

    Tune's own cache keeps none while a trial with another share is starting anywhere: with a share
    a node, one cold start would make the next, and so on. A worker leaves for a trial that wants
    another share of the same node.
    """

    def cache_object(self, key: Any, obj: Any) -> bool:
        """Keep the worker, unless its node is wanted for something else."""
        if self._is_crowded(key):
            return False
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        """The workers that leave."""
        for key, workers in self._cached_objects.items():
            while workers and (force_all or self._is_crowded(key)):
                self._num_cached_objects -= 1
                yield workers.pop(0)

    def _is_crowded(self, key: Any) -> bool:
        wanted: list[Any] = [share for share, count in self._max_num_objects.items() if count > 0]
        return any(o != key and o._bound.kwargs == key._bound.kwargs for o in wanted)


class _ReadyWorkers(_ActorClassCache):
    """Takes the processes that Ray has ready.

    Tune brings each worker some of this process's environment, for which Ray starts another one.
    """

    def get(self, trainable_cls: type) -> Any:
        """The actor's class."""
        if trainable_cls not in self._cache:
            self._cache[trainable_cls] = ray.remote(trainable_cls)
        return self._cache[trainable_cls]


class _StaysHere:
    """Tune pickles its searcher and scheduler to be restored; these never are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (object, ())

    def __deepcopy__(self, memo: dict[int, Any]) -> "_StaysHere":
        return self


class _Bridge(_StaysHere):
    """Between Tune's trials and the plan's; Tune swallows errors, so they are kept.

    One of Tune's is a slot's work: a group of the plan's, most often of one.
    """

    def __init__(
        self, plan: Plan, groups: Groups, slots: Slots, on_warning: Callable[[str], None]
    ) -> None:
        self.plan, self.groups, self.slots = plan, groups, slots
        self.on_warning = on_warning
        self.controller: Any = None  # Tune's, once it has a trial
        self.error: BaseException | None = None
        self.running: dict[str, set[int]] = {}  # Tune's trial id -> the plan's numbers
        self.last_words: dict[str, str] = {}  # of processes that said why they end

    def fail(self, error: BaseException) -> None:
        self.error = self.error or error

    def died(self, trial_id: str, reason: str) -> None:
        """A process is gone, and with it the present run of its trials."""
        try:
            for number in sorted(self.running.pop(trial_id, ())):
                self.groups.died(number, reason)
        except Exception as failure:
            self.fail(failure)

    def tell(self, trial_id: str, number: int, step: Step) -> bool:
        """Tell the plan of a step; whether the trial goes on."""
        if step.problem:
            raise StorageError(step.problem)
        if step.report is None and step.outcome.state is State.RUNNING:
            self.last_words[trial_id] = step.outcome.reason
        return self.plan.hear(number, step)


class _PlanSearcher(_StaysHere, Searcher):
    """Asks the plan for the next trials, once there is a place for them."""

    def __init__(self, bridge: _Bridge, tick: "_Tick") -> None:
        super().__init__()
        self._bridge, self._tick = bridge, tick

    def suggest(self, trial_id: str) -> Any:
        """The next assignments as Tune's config."""
        bridge = self._bridge
        if bridge.error is not None:
            return Searcher.FINISHED
        idle = not bridge.running
        if idle:  # Tune asks on and on, and nothing else of its loop runs
            self._tick.tick()
        elif self._tick.ends:
            return None
        try:
            part = bridge.slots.find()
            if part is None:
                return Searcher.FINISHED if idle and bridge.groups.is_over() else None
            turn = bridge.groups.next()
        except Exception as error:
            bridge.fail(error)
            return Searcher.FINISHED
        if isinstance(turn, Turn):  # a running one may have to be repeated
            return Searcher.FINISHED if turn is Turn.OVER and idle else None
        bridge.running[trial_id] = {assignment.number for assignment in turn}
        bridge.slots.take(trial_id, part.node.id)
        return _config(turn, part)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial has left its slot; if its process died, only this tells."""
        del result
        self._bridge.slots.give_back(trial_id)
        said = self._bridge.last_words.pop(trial_id, "")
        if error:
            killed = "it was killed, or the machine ran out of memory"
            self._bridge.died(trial_id, said or killed)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: every run is a new one."""


class _PlanScheduler(_StaysHere, FIFOScheduler):
    """Tells the plan each epoch, and stops the trials that it does not let go on."""

    def __init__(self, bridge: _Bridge, tick: "_Tick", *, started_here: bool) -> None:
        super().__init__()
        self._bridge, self._tick, self._started_here = bridge, tick, started_here

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Before the first trial: take hold of Tune's workers."""
        super().on_trial_add(tune_controller, trial)
        if self._bridge.controller is None:
            self._bridge.controller = tune_controller
            tune_controller._tune_controller._actor_cache = _WarmWorkers()
            if self._started_here:
                tune_controller._tune_controller._class_cache = _ReadyWorkers()

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """None in particular: Tune starts what waits. It asks between any two decisions.

        It would give the oldest one, whose worker is starting, a warm worker and stop the other:
        with short trials the cold slots would never come up.
        """
        self._tick.tick(tune_controller._tune_controller.get_trials())

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict) -> str:
        """Hand an epoch to the plan."""
        del tune_controller
        bridge = self._bridge
        if bridge.error is not None:
            return TrialScheduler.STOP
        if held := result.get(HELD):
            bridge.slots.told(trial.trial_id, Held(**json.loads(held)))
        if warning := result.get(WARNING):
            bridge.on_warning(f"{warning}; no more of this shape are trained together")
            bridge.groups.came_apart(min(bridge.running[trial.trial_id]))
        try:
            return self._tell(trial, steps_from_json(result[STEPS]))
        except Exception as error:
            bridge.fail(error)
            return TrialScheduler.STOP

    def _tell(self, trial: TuneTrial, steps: Mapping[int, Step]) -> str:
        """Tell the plan what each trial of the group did."""
        bridge = self._bridge
        running = bridge.running[trial.trial_id]
        for number, step in steps.items():  # all are recorded before any is judged
            if step.report and len(steps) > 1:
                bridge.plan.report(number, step.report)
        stopped = {n for n, step in steps.items() if not bridge.tell(trial.trial_id, n, step)}
        running -= stopped
        if not running:
            del bridge.running[trial.trial_id]
            return TrialScheduler.STOP
        pruned = [n for n in stopped if steps[n].outcome.state is State.RUNNING]
        if pruned:  # before the worker's next step: an actor does its tasks in their order
            controller = bridge.controller._tune_controller
            controller._schedule_trial_task(trial, "leave_out", args=(pruned,))
        return TrialScheduler.CONTINUE


class _Interrupt:
    """Remembers Ctrl-C until nothing is half decided."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> "_Interrupt":
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: Any) -> None:
        del number, frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class _Tick:
    """Between two decisions of Tune's loop.

    No callback of Tune's: it would import every tracker that is installed to count those.
    """

    def __init__(
        self,
        bridge: _Bridge,
        nodes: Nodes,
        lay_out: Callable[[list[Node]], Layout] | None,
        hooks: Hooks,
        interrupt: _Interrupt,
    ) -> None:
        self._bridge, self._nodes, self._lay_out = bridge, nodes, lay_out
        self._hooks, self._interrupt = hooks, interrupt
        self._looked_at, self._said = time.monotonic(), ""

    @property
    def ends(self) -> bool:
        """Whether the next tick ends the search."""
        return self._interrupt.asked

    def tick(self, trials: Sequence[TuneTrial] = ()) -> None:
        """Draw, or end the search.

        Args:
            trials: Tune's; none where nothing runs.
        """
        if self._interrupt.asked:
            raise KeyboardInterrupt
        waits_for = self._bridge.slots.waits_for
        # How much is missing changes all the time: told is where, and that it is over.
        if bool(waits_for) != bool(self._said):
            self._hooks.on_wait(waits_for)
        self._said = waits_for
        if time.monotonic() - self._looked_at >= NODES_SECONDS:
            self._look_at_nodes(trials)
            self._looked_at = time.monotonic()
        self._hooks.on_tick()

    def _look_at_nodes(self, trials: Sequence[TuneTrial]) -> None:
        slots, changed = self._bridge.slots, False
        for node in self._nodes.refresh():
            slots.lose(node)
            changed = True
            for trial in trials:  # one that waits for the node would wait for ever
                if trial.status == TuneTrial.PENDING and slots.node_of(trial.trial_id) == node:
                    self._bridge.died(trial.trial_id, "its node is gone")
                    self._bridge.controller.stop_trial(trial)
        new = [node for node in self._nodes.known() if not slots.has(node.id)]
        if new and self._lay_out:
            for part in self._lay_out(new).nodes:
                slots.add(part)
                changed = True
        for warning in self._nodes.take_warnings():
            self._hooks.on_warning(warning)
        if changed:
            self._hooks.on_layout(slots.layout)
