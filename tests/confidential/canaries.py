"""Strings that are in notes and patients alone, the lab they are put in, and where they are found.

They survive lower-casing and tokenising: letters alone, in an order that no language has. A part of
one is found as well, in any case, in UTF-16 or in base64: what is cut or encoded still tells.
"""

import base64
import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headhunt.trainables.notes.cache import CACHE_FOLDER

EVERYWHERE = "Qzwvkxjanari"  # in every training note, so that every vocabulary learns it
ONCE = "Vbqxwzjkhoru"  # in one note of each patient
PATIENT = "Xkwqjzvpatix"  # begins each patient's id
CANARIES = (EVERYWHERE, ONCE, PATIENT)
PART = 7  # letters of a canary that tell
MAIN = "import sys\nfrom headhunt.search.cli import main\nsys.argv[0] = 'headhunt'\nmain()\n"

# A space with what a search of a store needs to meet: three shapes, small ones.
SPACES = f"""
from headhunt.spaces.configs import HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import LinearHead


def mixed(trial, options):
    rate = trial.suggest_float("rate", 1e-3, 1e-2, log=True)
    optimisation = Optimisation(learning_rate=rate)
    if trial.suggest_categorical("model", ["linear", "transformer"]) == "linear":
        return HeadConfig(backbone=options.backbones[0], head=LinearHead(),
            optimisation=optimisation)
    return ScratchConfig(vocabulary=500, width=8, feed_forward=8, optimisation=optimisation)


def small(trial):
    rate = trial.suggest_float("rate", 1e-3, 1e-2, log=True)
    return ScratchConfig(vocabulary=500, width=8, feed_forward=8,
        optimisation=Optimisation(learning_rate=rate))


def quoting(trial):
    trial.suggest_float("rate", 1e-3, 1e-2)
    raise ValueError("no config for the note {EVERYWHERE} of {PATIENT}")
"""


def write_confidential_notes(path: Path, count: int = 60) -> Path:
    """Notes of two classes; a canary is all over them, and one more a patient, whose id is one."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "patient_id"])
        for place in range(count):
            label = ("quiet", "loud")[place % 2]
            once = f"{ONCE} {ONCE}" if place % 3 == 0 else "stable"
            told = label if place % 7 else "either"
            text = f"{EVERYWHERE} patient {once} was {told} in room {place % 11}"
            rows.writerow([text, label, f"{PATIENT}{place // 3}"])
    return path


@dataclass(frozen=True)
class Lab:
    """A folder with all that a command may write to: home, temporary files, Ray's, a store."""

    folder: Path
    faults: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", self.folder / "faults")
        for name in ("home", "tmp", "ray", "work", "said", "faults"):
            (self.folder / name).mkdir()
        write_confidential_notes(self.work / "notes.csv")
        (self.work / "spaces.py").write_text(SPACES)

    @property
    def work(self) -> Path:
        """Where commands run."""
        return self.folder / "work"

    @property
    def store(self) -> Path:
        """The store of its studies."""
        return self.work / "store"

    def environment(self) -> dict[str, str]:
        """Of a command: nothing leads out of the folder."""
        places = {"HOME": "home", "TMPDIR": "tmp", "RAY_TMPDIR": "ray", "XDG_CACHE_HOME": "home"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "HF_", "XDG_"))}
        path = [str(self.faults), os.environ.get("PYTHONPATH", "")]
        return {
            **kept,
            **{name: str(self.folder / place) for name, place in places.items()},
            "HEADHUNT_STORE": "store",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def inject(self, fault: str) -> None:
        """Let a fault happen in every process that begins from now on; "" for none."""
        (self.faults / "sitecustomize.py").write_text(fault)

    def start(self, *words: str) -> "Command":
        """Begin a command; all that it says goes to files."""
        number = len(list((self.folder / "said").iterdir())) // 2
        out = self.folder / "said" / f"{number:02d}.out"
        error = out.with_suffix(".err")
        with out.open("w") as said, error.open("w") as wrong:
            process = subprocess.Popen(
                [sys.executable, "-c", MAIN, *words],
                cwd=self.work,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=wrong,
                umask=0,
                start_new_session=True,
            )
        return Command(process, out, error)

    def run(self, *words: str) -> "Command":
        """Run a command to its end."""
        command = self.start(*words)
        command.process.wait(240)
        return command

    def remove(self) -> None:
        """With all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Command:
    """A command that was begun."""

    process: "subprocess.Popen[bytes]"
    out: Path
    error: Path

    @property
    def status(self) -> int | None:
        """Its exit status."""
        return self.process.returncode

    @property
    def said(self) -> str:
        """What it has written to both streams."""
        return self.out.read_text() + self.error.read_text()


def found_in(folder: Path, *, besides: Iterable[Path] = ()) -> dict[str, str]:
    """Every file in the folder that tells of a canary, by its content or its name, and how.

    Files in a store's confidential folder are left out, and so are those that `besides` names.
    """
    left_out = set(besides)
    return {
        str(path.relative_to(folder)): told
        for path in _files(folder)
        if path not in left_out
        and CACHE_FOLDER not in path.relative_to(folder).parts
        and (told := tells(os.fsencode(path.name) + b"\n" + path.read_bytes()))
    }


def tells(data: bytes) -> str:
    """What there is of a canary in the bytes; "" where they tell nothing."""
    match = _TELLING.search(data)
    return match.group().decode("latin-1") if match else ""


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _forms(canary: str) -> Iterator[bytes]:
    for start in range(len(canary) - PART + 1):
        part = canary[start : start + PART]
        yield part.encode()
        yield part.encode("utf-16-le")
    for before in (b"", b" ", b"  "):  # in base64 it looks different at each of three places
        whole = base64.b64encode(before + canary.encode())
        yield whole[4:-4]


_TELLING = re.compile(
    b"|".join(re.escape(form) for canary in CANARIES for form in _forms(canary)), re.IGNORECASE
)


def modes_in(folder: Path) -> Mapping[str, int]:
    """Permissions of everything in the folder, itself included."""
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777
        for path in (folder, *folder.rglob("*"))
    }
