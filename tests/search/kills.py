"""A real search that is killed at the moments that it is told, and continued each time."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil

from headhunt.search.study import Study, Trial
from headhunt.spaces.record import State
from headhunt.stores import store_at

from ..trainables.backbone_dirs import make_backbone
from .killed import Death, search
from .toys import HEADHUNT, learned, write_notes

MARK = "HEADHUNT_KILLS"  # in the environment of what the searches start
ROOT = Path(__file__).parents[2]
TRIALS, EPOCHS = 16, 6
GONE_SECONDS, RUN_SECONDS = 60, 240
SPACE = """
from headhunt.spaces.configs import HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead


def mixed(trial, options):
    kind = trial.suggest_categorical("kind", ["head", "scratch"])
    tuned = Optimisation(learning_rate=trial.suggest_float("rate", 1e-4, 1e-2, log=True))
    if kind == "scratch":
        return ScratchConfig(vocabulary=300, dropout=0.2, optimisation=tuned)
    return HeadConfig(backbone=options.backbones[0], dropout=0.2, head=AdapterHead(bottleneck=4),
        optimisation=tuned)
"""


@dataclass(frozen=True)
class Lab:
    """Where the searches are, and how they are asked for."""

    folder: Path
    encoder: str
    store: Callable[[str], str]  # of one study, so that each encodes the notes
    processes: ForkServerContext  # of those that are killed

    def run(self, study: str) -> None:
        """A search of the study, new or continued, to its end, as a user starts it."""
        done = subprocess.run(
            [*HEADHUNT, *self._words(study)],
            cwd=ROOT,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        wait_until_gone(self.folder, starting_too=False)

    def kill(self, study: str, moment: str, count: float) -> bool:
        """The same, killed at this moment; False where it ended before that came."""
        said = self.folder / "said.txt"
        said.write_text("")
        given = self.folder / f"given-{study}.txt"
        words = (self._words(study), Death(moment, count), given, said, ROOT, self._environment())
        process = self.processes.Process(target=search, args=words)
        process.start()
        process.join(RUN_SECONDS)
        ended = process.exitcode
        process.kill()
        process.join()
        wait_until_gone(self.folder, starting_too=False)
        assert ended in (0, -signal.SIGKILL), said.read_text()
        assert "Traceback" not in said.read_text()
        return ended != 0

    def _environment(self) -> dict[str, str]:
        return {**os.environ, MARK: str(self.folder)}

    def _words(self, study: str) -> list[str]:
        words = ["search", str(self.folder / "notes.csv"), "--study", study]
        words += ["--store", self.store(study), "--work", str(self.work(study))]
        words += ["--trials", str(TRIALS), "--slots", "2"]
        if self.read(study) is not None:
            return [*words, "--resume"]
        words += ["--space", f"{self.folder}/mine.py:mixed", "--backbone", self.encoder]
        words += ["--max-epochs", str(EPOCHS), "--max-tokens", "32", "--no-rungs"]
        return [*words, "--sampler", "random", "--card", "none", "--patience", "0"]

    def read(self, study: str) -> list[Trial] | None:
        """The trials as they stand in the study; None where there is no study yet."""
        store = store_at(self.store(study), work=self.work(study))
        if not store.exists(study):
            return None
        opened = Study.open(store, study)
        try:
            return list(opened.trials)
        finally:
            opened.close()

    def states(self, study: str) -> list[Path]:
        """All that is kept of its trials."""
        return [path for path in self.work(study).rglob("trials/**/*") if path.is_file()]

    def work(self, study: str) -> Path:
        """The folder for features and states."""
        return self.folder / f"work-{study}"

    def given(self, study: str) -> list[tuple[int, int]]:
        """Number and known epochs of each assignment of the last run."""
        file = self.folder / f"given-{study}.txt"
        if not file.exists():
            return []
        lines = file.read_text().splitlines()
        file.unlink()
        return [(int(a), int(b)) for a, b in (line.split() for line in lines)]


def wait_until_gone(folder: Path, *, starting_too: bool = True) -> None:
    """Until nothing that was started with this folder as its mark runs, but Ray's agents.

    They hold nothing, and look for their node for a minute or two.

    Args:
        folder: the mark.
        starting_too: wait for workers that have no trial as well. They hold nothing either; those
            that never reached their node look for it for half a minute.
    """
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) != str(folder) or process.name().endswith("Agent"):
                continue
            words = process.cmdline()
            is_idle = words[:1] == ["ray::IDLE"] or any(
                w.endswith("default_worker.py") for w in words
            )
            if starting_too or not is_idle:
                left.append(process)
    _, alive = psutil.wait_procs(left, timeout=GONE_SECONDS)
    assert alive == []


def make_lab(folder: Path, store: Callable[[str], str], processes: ForkServerContext) -> Lab:
    """A corpus, an encoder and a space in the folder."""
    write_notes(folder / "notes.csv", 240)
    (folder / "mine.py").write_text(SPACE)
    return Lab(folder, str(make_backbone(folder / "encoder")), store, processes)


def survive(lab: Lab, moments: Iterable[tuple[str, float]]) -> int:
    """Kill a search at each moment and continue it to its end, which is as if it had never been.

    Returns:
        How often it was killed; it may end before a late moment comes.
    """
    lab.run("whole")
    whole = lab.read("whole") or []
    before: list[Trial] = []
    killed = 0
    for moment, count in moments:
        killed += lab.kill("lab", moment, count)
        trials = lab.read("lab") or []
        ended = {t.number: t for t in before if t.state is not State.RUNNING}
        epochs = {t.number: len(t.reports) for t in before}
        for number, known in lab.given("lab"):  # none again, and from where it had come
            assert number not in ended, moment
            assert known == epochs.get(number, 0), moment
        for old, now in zip(before, trials, strict=False):
            assert now.reports[: len(old.reports)] == old.reports  # to the second
            if old.number in ended:
                assert (now.reports, now.outcome) == (old.reports, old.outcome)
        assert len(trials) >= len(before)
        before = trials
        if trials and sum(t.state is not State.RUNNING for t in trials) == TRIALS:
            break

    lab.run("lab")
    wait_until_gone(lab.folder)

    trials = lab.read("lab") or []
    assert [learned(t) for t in trials] == [learned(t) for t in whole]
    assert len(trials) == len({t.config_hash for t in trials}) == TRIALS
    assert {t.state for t in trials} == {State.COMPLETE}
    names = [path.name for path in lab.states("lab")]
    assert [name for name in names if name.startswith(("checkpoint-", "."))] == []
    return killed
