"""Files, options and studies that no command can work with, as entries of the table."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from headhunt.spaces.record import JOURNAL_NAME

from .entries import BASELINES, HUGE, SCRATCH, SEARCH, Case
from .notes import SECRET, csv_of, rows

# --- files of notes that are more than their bytes ------------------------------------------------


def long_line(lab: Path) -> None:
    """A line of 200 MB, most of which is a hole in the file."""
    with (lab / "a.csv").open("wb") as file:
        file.write(b"text,label\n" + f"{SECRET} ".encode() * 2**20)
        file.truncate(200_000_000)


def busy(work: str) -> Callable[[Path], Callable[[], None]]:
    """A file that another process works on for as long as it is read; making it returns its end."""

    def make(lab: Path) -> Callable[[], None]:
        path = lab / "a.csv"
        path.write_bytes(csv_of(rows(40_000)))
        before = path.stat()
        process = subprocess.Popen(["sh", "-c", f"while :; do {work}; done"], cwd=lab)
        while path.stat().st_mtime_ns == before.st_mtime_ns:
            time.sleep(0.001)

        def end() -> None:
            process.kill()
            process.wait()

        return end

    return make


FILES: dict[str, Case] = {
    "a line of 200 MB": (
        long_line,
        ["corpus", "check", "a.csv"],
        ["a.csv: line 2 is longer than 16,777,216 characters"],
    ),
    "a file that grows": (
        busy(f"echo '{SECRET},class 0' >> a.csv"),
        ["corpus", "check", "a.csv"],
        ["a.csv changed while it was read; wait until whatever writes it is done"],
    ),
    "a file that grows by halves of rows": (
        busy(f"echo '{SECRET}' >> a.csv"),
        ["corpus", "check", "a.csv"],
        ["a.csv changed while it was read; wait until whatever writes it is done"],
    ),
    "a file that is written anew": (
        busy("touch a.csv"),
        ["corpus", "check", "a.csv"],
        ["a.csv changed while it was read; wait until whatever writes it is done"],
    ),
    "a directory": (None, ["corpus", "check", "encoder"], ["encoder is a directory; give the"]),
    "a pipe": (
        lambda lab: os.mkfifo(lab / "a.csv"),
        ["corpus", "check", "a.csv"],
        ["a.csv is no regular file; save the notes in one"],
    ),
    "a link to itself": (
        lambda lab: (lab / "a.csv").symlink_to("a.csv"),
        ["corpus", "check", "a.csv"],
        ["a.csv"],
    ),
    "a name too long for a file": (None, ["corpus", "check", "a" * 300 + ".csv"], ["too long"]),
    "no such file for a search": (
        None,
        ["search", "nowhere.csv", "--study", "new", "--space", "baselines"],
        ["nowhere.csv does not exist; give the file with the notes"],
    ),
    "notes of a footprint that are none": (
        lambda lab: (lab / "a.csv").write_bytes(csv_of(rows(), "text,diagnosis")),
        ["footprint", "linear", "--notes", "a.csv"],
        ["no label column 'label'"],
    ),
}

# --- options --------------------------------------------------------------------------------------

_SEARCH_OPTIONS = {
    "no trials": (["--trials", "0"], "--trials must be a positive number; got 0"),
    "more trials than anyone lives for": (["--trials", HUGE], "--trials must be at most 1,000,0"),
    "trials that are a word": (["--trials", "many"], "Invalid value for '--trials'"),
    "hours that are no number": (["--wall-hours", "nan"], "--wall-hours must be a positive number"),
    "endless hours": (["--wall-hours", "inf"], "--wall-hours must be a positive number; got inf"),
    "hours without a GPU": (["--gpu-hours", "1"], "use --wall-hours here"),
    "hours without a card": (["--card", "none", "--card-hours", "1"], "--card-hours needs a card"),
    "a margin above every F1": (["--stop-margin", "2"], "--stop-margin must be at most 1; got 2.0"),
    "no slots": (["--slots", "0"], "--slots must be 1 or more; got 0"),
    "slots beyond every machine": (["--slots", HUGE], "--slots must be at most 100,000; got 99"),
    "none together": (["--together", "0"], "--together must be 1 or more"),
    "a negative seed": (["--seed", "-1"], "--seed must be in [0, 2**31); got -1"),
    "a seed beyond all": (["--seed", HUGE], "--seed must be in [0, 2**31); got 999"),
    "no epochs": (["--max-epochs", "0"], "--max-epochs must be at least 1; got 0"),
    "endless epochs": (["--max-epochs", HUGE], "--max-epochs must be at most 100,000; got 99"),
    "negative patience": (["--patience", "-1"], "--patience must not be negative"),
    "notes of two tokens": (["--max-tokens", "2"], "--max-tokens must be at least 8; got 2"),
    "notes of endless tokens": (["--max-tokens", HUGE], "--max-tokens must be at most 1,000,000"),
    "no batch": (["--batch-limit", "0"], "--batch-limit must be at least 1"),
    "an unknown precision": (["--precision", "fp8"], "--precision is auto, fp32 or bf16"),
    "an unknown objective": (["--objective", "speed"], "--objective is f1 or f1,card-hours"),
    "card hours alone": (["--objective", "card-hours"], "--objective must have f1 in it"),
    "an unknown sampler": (["--sampler", "grid"], "a sampler is one of"),
    "an unknown way with conflicts": (
        ["--conflicting", "merge"],
        "conflicting is 'keep' or 'drop'",
    ),
    "a share above one": (["--train-fraction", "1.5"], "0 < train_fraction <= 1 must hold"),
    "a share that is NaN": (["--train-fraction", "nan"], "0 < train_fraction <= 1 must hold"),
    "a wrong column": (["--label-column", "diagnosis"], "no label column 'diagnosis'"),
    "one column for two roles": (["--label-column", "text"], "each column has one role"),
    "no address": (["--address", "my cluster"], "--address is auto or HOST:PORT"),
    "a port beyond all": (["--address", "here:99999"], "--address is auto or HOST:PORT"),
    "mps without its daemon": (["--mps"], "--mps: no MPS control daemon has its pipe in no-mps"),
    "a name with a slash": (["--study", "a/b"], "no slashes"),
    "a name of a terminal's codes": (["--study", "\x1b[31m"], "nothing that cannot be printed"),
    "a name that is half a character": (["--study", "a\ud800"], "nothing that cannot be printed"),
    "a name of a space": (["--study", " "], "no white space around it"),
    "a name too long": (["--study", "x" * 101], "at most 100 bytes"),
    "a name that is taken": (["--study", "kept"], "exists in store: continue it with --resume"),
    "a store that is a file": (["--store", "notes.csv"], "the store notes.csv cannot be written"),
    "a resume of nothing": (["--resume"], "no study 'new' in the store store; it has: kept"),
    "an unknown option": (["--gpus", "2"], "No such option: --gpus"),
}
LARGE = ("--width", "--feed-forward", "--batch-size", "--max-tokens", "--note-tokens")
_OTHER_OPTIONS = {
    "neither a space nor a backbone": (SEARCH, "at least one --backbone"),
    "no study": (["search", "notes.csv"], "Missing option '--study'"),
    "gp on a conditional space": ([*SCRATCH, "--sampler", "gp"], "is conditional: use --sampler"),
    "a demo of few notes": (["demo", "--notes", "3"], "Invalid value for '--notes'"),
    "a demo of endless notes": (["demo", "--notes", HUGE], "Invalid value for '--notes'"),
    "a demo with a negative seed": (["demo", "--seed", "-1"], "Invalid value for '--seed'"),
    "a demo without trials": (["demo", "--trials", "0"], "Invalid value for '--trials'"),
    "a demo in a file": (
        ["demo", "--notes", "100", "--store", "notes.csv"],
        "the folder notes.csv cannot be written",
    ),
    "a corpus that would overwrite": (
        ["corpus", "demo", "-o", "notes.csv"],
        "overwrite it with --force",
    ),
    "a corpus of no notes": (["corpus", "demo", "-o", "d.csv", "--notes", "0"], "'--notes'"),
    "a corpus of another format": (["corpus", "demo", "-o", "d.xlsx"], "ends in .csv"),
    "a check of no tokens": (["corpus", "check", "notes.csv", "--max-tokens", "0"], "--max-tokens"),
    "a rank by nonsense": (
        ["rank", "kept", "--by", "speed"],
        "a ranking is by one of f1-per-gpu-hour, ",
    ),
    "a rank by text": (
        ["rank", "kept", "--by", "model"],
        "a ranking is by one of f1-per-gpu-hour, ",
    ),
    "a floor above one": (["rank", "kept", "--min-f1", "81"], "got min_f1=81"),
    "a floor that is NaN": (["rank", "kept", "--min-f1", "nan"], "got min_f1=nan"),
    "the first none": (["rank", "kept", "--top", "0"], "Invalid value for '--top'"),
    "trials in a folder": (["trials", "kept", "-o", "encoder"], "encoder"),
    "trials in no folder": (["trials", "kept", "-o", "no/t.csv"], "no/t.csv"),
    "trials in a sheet": (["trials", "kept", "--format", "xlsx"], "Invalid value for '--format'"),
    "Parquet on the terminal": (["trials", "kept", "--format", "parquet"], "add -o FILE"),
    "a simulation on no slots": (["simulate", "kept", "--slots", "0"], "--slots takes numbers"),
    "a simulation on a power of slots": (["simulate", "kept", "--slots", "²"], "--slots takes"),
    "a simulation on endless slots": (["simulate", "kept", "--slots", HUGE], "at most 100,000"),
    "a simulation of endless hours": (
        ["simulate", "kept", "--wall-hours", "inf"],
        "--wall-hours must be a positive number",
    ),
    "a simulation of endless seeds": (["simulate", "kept", "--seeds", HUGE], "value for '--seeds'"),
    "a simulation of little": (["simulate", "kept", "--sampler", "tpe"], "the surrogate needs 20"),
    "a footprint of no width": (
        ["footprint", "moe", "--width", "0"],
        "Invalid value for '--width'",
    ),
    "a footprint of endless width": (["footprint", "moe", "--width", HUGE], "value for '--width'"),
    "a footprint beyond all counting": (
        ["footprint", "transformer", *(word for name in LARGE for word in (name, "1000000"))],
        "sizes so large cannot be counted",
    ),
    "a footprint of nothing": (["footprint", "rnn"], "a model is one of"),
    "a footprint in no mode": (["footprint", "linear", "--mode", "half"], "--mode is one of"),
    "more layers than there are": (
        ["footprint", "linear", "--mode", "last_k", "--last-k", "99"],
        "at most the encoder's 12 layers",
    ),
    "a calibration of no file": (["footprint", "--calibrate", "card"], "a card file ends in .toml"),
    "negative watts": (
        ["footprint", "--calibrate", "c.toml", "--watts", "-1"],
        "--watts must be a positive number",
    ),
    "an unknown command": (["serach"], "No such command 'serach'"),
}
OPTIONS: dict[str, Case] = {
    **{
        name: (None, [*BASELINES, *words], [said])
        for name, (words, said) in _SEARCH_OPTIONS.items()
    },
    **{name: (None, words, [said]) for name, (words, said) in _OTHER_OPTIONS.items()},
}

# --- studies --------------------------------------------------------------------------------------


def journal(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    """Changes the lines of the study's journal."""

    def make(lab: Path) -> None:
        path = lab / "store" / "kept" / JOURNAL_NAME
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return make


def told(key: str, value: object) -> Callable[[Path], object]:
    """A journal in which this attribute of the study, or of its trials, is another one."""

    def change(lines: list[bytes]) -> list[bytes]:
        entries = [json.loads(line) for line in lines]
        for entry in entries:
            for place in ("user_attr", "user_attrs"):
                if key in (entry.get(place) or {}):
                    entry[place][key] = value
        return [json.dumps(entry).encode() + b"\n" for entry in entries]

    return journal(change)


_UNREADABLE = "store/kept/study.journal cannot be read"
_STUDIES: dict[str, tuple[Callable[[Path], object] | None, str, str]] = {
    "no such study": (None, "status other", "no study 'other' in the store store; it has: kept"),
    "no such store": (None, "rank kept --store nowhere", "the store nowhere does not exist"),
    "a study outside the store": (None, "trials ../store/kept", "no study '../store/kept'"),
    "a study of endless name": (None, f"status {'x' * 300}", "no study 'xxx"),
    "a study that is a page": (journal(lambda _: [b"<html>\n"] * 3), "status kept", _UNREADABLE),
    "a study of deep nesting": (
        journal(lambda lines: [*lines, b"[" * 100_000 + b"\n", b"\n"]),
        "rank kept",
        _UNREADABLE,
    ),
    "a study of Latin-1": (journal(lambda lines: [b"\xe9\n", *lines]), "trials kept", _UNREADABLE),
    "a study killed in its making": (
        journal(lambda lines: lines[:1]),
        "status kept",
        "was killed while it was made: start it anew",
    ),
    "a manifest that is text": (told("manifest", "x"), "rank kept", _UNREADABLE),
    "half a manifest": (told("manifest", {"study": "kept"}), "status kept", _UNREADABLE),
    "a card that is text": (told("manifest", {"card": "p620"}), "trials kept", _UNREADABLE),
    "a config that is text": (told("config", "x"), "rank kept", _UNREADABLE),
    "an epoch that is a number": (told("epoch:1", 1), "trials kept", _UNREADABLE),
    "an end that is a list": (told("outcome", [1]), "simulate kept", "it is broken"),
    "a trial without a config": (told("config", None), "simulate kept", "it is broken"),
    "a confirmation of half a manifest": (
        told("manifest", {"study": "kept", "settings": {}}),
        "confirm kept",
        _UNREADABLE,
    ),
    "a confirmation of a config that is text": (told("config", "x"), "confirm kept", _UNREADABLE),
    "a confirmation of an end that is a list": (told("outcome", [1]), "confirm kept", _UNREADABLE),
    "a confirmation of nothing that is ranked": (
        None,
        "confirm kept --notes notes.csv --top 3",
        "--top 3 is more than the",
    ),
    "a resume of a broken study": (
        journal(lambda lines: [lines[0], b"<html>\n", *lines[1:]]),
        "search notes.csv --study kept --resume",
        _UNREADABLE,
    ),
    "a resume of half a manifest": (
        told("manifest", {"settings": {"speed": 7}, "objective": ["f1"]}),
        "search notes.csv --study kept --resume",
        "lacks what a search records",
    ),
    "a resume of an unknown config": (
        told("config", {"kind": "rnn"}),
        "search notes.csv --study kept --resume",
        _UNREADABLE,
    ),
}
STUDIES: dict[str, Case] = {
    name: (make, words.split(), [said]) for name, (make, words, said) in _STUDIES.items()
}
