"""`headhunt footprint` as its user meets it."""

import json
import re

import pytest
from typer.testing import CliRunner

from headhunt.search.cli import app
from headhunt.trainables.card.cards import CARDS, card_toml
from headhunt.trainables.card.sizing import MOST_NOTES

SMALL = ("--max-tokens", "32", "--note-count", "100")


def run(*arguments):
    return CliRunner().invoke(app, ["footprint", *arguments])


def test_a_model_is_shown_by_part_with_its_border_and_its_cost():
    result = run("grn", *SMALL)

    assert result.exit_code == 0, result.output
    for part in ("parameters", "gradients", "optimiser state", "activations", "encoding"):
        assert part in result.stdout
    assert "on the card Quadro P620" in result.stdout
    assert re.search(r"It fits, [\d,]+ MiB to spare", result.stdout)
    assert re.search(r"card hours", result.stdout)
    assert "2,365,442" in result.stdout  # a GRN of width 768 and its classifier


def test_what_does_not_fit_says_by_how_much():
    result = run("linear", "--mode", "full", "--max-tokens", "128")

    assert result.exit_code == 0, result.output
    assert re.search(r"It does not fit: [\d,]+ MiB too much", result.stdout)


def test_json_has_every_figure_with_its_unit_in_its_name():
    result = run("moe", "--format", "json", "--epochs", "3", "--card", "t4", *SMALL)

    shown = json.loads(result.stdout)
    assert (shown["card"], shown["fits"], shown["epochs"]) == ("Tesla T4", True, 3)
    parts = shown["parts_mib"]
    kept = ("parameters", "gradients", "optimiser state", "activations and inputs")
    whole = sum(parts[p] for p in (*kept, "rounding by the allocator", "workspace (allowance)"))
    assert whole == pytest.approx(shown["peak_mib"])
    assert shown["card_hours"] == pytest.approx(3 * shown["epoch_seconds"] / 3600)
    assert shown["card_energy_kwh"] == pytest.approx(shown["card_hours"] * 70 / 1000)
    assert shown["largest_batch_notes"] > 8


def test_without_a_model_all_of_them_are_compared(monkeypatch):
    from headhunt.search import estimate

    whole = estimate.gallery
    monkeypatch.setattr(estimate, "gallery", lambda name: [*whole(name)[:2], *whole(name)[-2:]])

    table = run(*SMALL)
    shown = json.loads(run("--format", "json", *SMALL).stdout)

    assert table.exit_code == 0, table.output
    assert "adapter head, frozen" in table.stdout
    assert "moe from scratch" in table.stdout
    assert [row["config"]["kind"] for row in shown] == ["head", "head", "scratch", "scratch"]


def test_a_card_file_is_taken(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(card_toml(CARDS["rtx3060"]), encoding="utf-8")

    shown = json.loads(run("transformer", "--card", str(file), "--format", "json", *SMALL).stdout)

    assert shown["card"] == "GeForce RTX 3060"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grm",), "a model is one of"),
        (("linear", "--mode", "frozn"), "--mode is one of"),
        (("linear", "--optimiser", "adam"), "--optimiser is one of"),
        (("linear", "--pooling", "last"), "--pooling is one of"),
        (
            ("linear", "--bottleneck", "8"),
            "--bottleneck would change nothing for the head 'linear'",
        ),
        (
            ("tiny_attention", "--attention-width", "16", "--bottleneck", "4", "--last-k", "1"),
            "--bottleneck, --last-k would change nothing for the head 'tiny_attention' on a frozen",
        ),
        (
            ("linear", "--checkpointing"),
            "--checkpointing would change nothing for the head 'linear'",
        ),
        (("transformer", "--mode", "full"), "--mode would change nothing for the scratch model"),
        (("--batch-size", "4"), "--batch-size would change nothing for the table of all models"),
        (("linear", "--watts", "50"), "--watts would change nothing"),
        (("linear", "--notes", "n.csv", "--classes", "3"), "--notes says what --classes would"),
        (("adapter", "--bottleneck", "0"), "'adapter' needs at least 1"),
        (("linear", "--card", "none"), "a footprint needs a card"),
        (("linear", "--card", "auto"), "and there is none"),
        (("linear", "--card", "p630"), "a card is one of"),
        (("linear", "--backbone", "nobody/nothing"), "neither on this machine"),
        (("linear", "--notes", "nowhere.csv"), "nowhere.csv"),
        (("transformer", "--width", "33"), "33"),
        (("--calibrate", "card.txt"), "a card file ends in .toml"),
        (("--calibrate", "card.toml"), "--watts"),
        (
            ("--calibrate", "card.toml", "--watts", "-5"),
            "--watts must be a positive number; got -5",
        ),
        (("--calibrate", "card.toml", "--watts", "nan"), "--watts must be a positive number"),
        (("linear", "--calibrate", "card.toml", "--watts", "5"), "does no more: MODEL"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(arguments, said):
    result = run(*arguments)

    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_a_file_is_not_overwritten_by_a_calibration(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("name = 1", encoding="utf-8")

    result = run("--calibrate", str(file), "--watts", "10")

    assert result.exit_code == 2
    assert "exists: name another file, or use --force" in " ".join(result.stderr.split())
    assert file.read_text(encoding="utf-8") == "name = 1"


def test_where_larger_batches_were_not_tried_none_is_called_the_largest():
    options = ("--max-tokens", "8", "--note-count", "20", "--card", "h200")
    shown = json.loads(run("transformer", "--format", "json", *options).stdout)

    assert shown["largest_batch_notes"] == MOST_NOTES
    assert not shown["largest_batch_is_known"]
    assert f"fit up to {MOST_NOTES:,} notes, and were not tried beyond" in run(
        "transformer", *options
    ).stdout.replace("\n", " ")


def test_what_limits_the_length_or_the_batch_is_said():
    long = run("linear", "--max-tokens", "1024", "--note-count", "100")
    validation = run("linear", "--mode", "full", "--batch-limit", "4096", *SMALL)

    assert "batch of 8 x 512 tokens (all that the model can read)" in long.stdout
    assert "beside validation batches of 4,096 notes (--batch-limit)" in " ".join(
        validation.stdout.split()
    )


def test_several_wrong_options_are_said_at_once():
    result = run("grm", "--mode", "frozn", "--card", "p630")

    assert result.stderr.count("error: ") == 3
