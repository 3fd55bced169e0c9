"""`headhunt footprint` as its user meets it."""

import json
import re

import pytest
from typer.testing import CliRunner

from headhunt.search.cli import app
from headhunt.trainables.card.cards import CARDS, card_toml

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
        (("linear", "--bottleneck", "8"), "the head 'linear' has no --bottleneck"),
        (("linear", "--checkpointing"), "frozen has no checkpointing"),
        (("linear", "--card", "none"), "a footprint needs a card"),
        (("linear", "--card", "auto"), "and there is none"),
        (("linear", "--card", "p630"), "a card is one of"),
        (("linear", "--backbone", "nobody/nothing"), "neither on this machine"),
        (("linear", "--notes", "nowhere.csv"), "nowhere.csv"),
        (("transformer", "--width", "33"), "33"),
        (("--calibrate", "card.txt"), "a card file ends in .toml"),
        (("--calibrate", "card.toml"), "--watts"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(arguments, said):
    result = run(*arguments)

    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_several_wrong_options_are_said_at_once():
    result = run("grm", "--mode", "frozn", "--card", "p630")

    assert result.stderr.count("error: ") == 3
