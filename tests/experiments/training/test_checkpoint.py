"""Runs that are interrupted for real, and go on."""

import os
from pathlib import Path

import pytest
from real_loops import configured, digits, numbers, run

from experiments.errors import UserError
from experiments.protocols.stage_loop import run_members
from experiments.training import checkpoint
from experiments.training.checkpoint import Checkpoints
from experiments.training.lanes import Member


@pytest.fixture
def saving_often(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)


class PulledPlugError(Exception):
    pass


class Plug:
    """Is pulled at an evaluation; notes what was evaluated before and after."""

    def __init__(self, stage, epoch):
        self.at = stage, epoch
        self.seen = []

    def tick(self, records):
        self.seen += [(record.stage, record.epoch) for record in records]
        if self.at in self.seen:
            raise PulledPlugError


def interrupted(config, dataset, folder, *at):
    plug = Plug(*at)
    with pytest.raises(PulledPlugError):
        run(config, dataset, folder, plug.tick)
    return plug.seen


STAGES = [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
FIELDS = {"batch_size": 64, "learning_rate": 5e-3}
CASES = {
    "full reset": ({"methods": ("full_reset",), **FIELDS}, 8),
    # Statistics, reference norms and initial parameters go on too.
    "SWR with BatchNorm": (
        {
            "dataset": "mnist",
            "model": "cnn_bn",
            "methods": ("swr_reinit",),
            "coefficients": {"swr_reinit": {"feature": 0.05, "classifier": 0.2}},
            **FIELDS,
        },
        16,
    ),
}


@pytest.mark.usefixtures("saving_often")
@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_as_if_nothing_had_been(case, tmp_path):
    """Interrupted within a stage, after a stage, and right at a change of data."""
    fields, side = CASES[case]
    config, dataset = configured(**fields), digits(200, side)
    whole = numbers(run(config, dataset, tmp_path / "whole"))
    assert [(r.stage, r.epoch) for r in whole] == STAGES
    parted = tmp_path / "parted"
    # What is interrupted as it is evaluated is not saved yet.
    assert interrupted(config, dataset, parted, 1, 2) == STAGES[:2]
    assert interrupted(config, dataset, parted, 2, 0) == STAGES[:3]
    assert interrupted(config, dataset, parted, 2, 2) == STAGES
    seen = []
    records = run(config, dataset, parted, lambda some: seen.append(len(some)))
    assert seen == [4, 1]  # What was saved is told at once.
    assert numbers(records) == whole
    assert [r.seconds for r in records] == sorted(r.seconds for r in records)


def test_what_is_finished_is_not_run_again(tmp_path):
    """Also where nothing was due to be saved: the end always is."""
    config = configured(seeds=2, epochs=1)
    whole = run(config, digits(200), tmp_path)
    seen = []
    records = run(config, digits(200), tmp_path, lambda some: seen.append(len(some)))
    assert records == whole
    assert seen == [3] * 2


@pytest.mark.usefixtures("saving_often")
def test_one_of_another_configuration_is_thrown_away(tmp_path):
    config = configured(methods=("vanilla",), **FIELDS)
    interrupted(config, digits(200), tmp_path, 2, 1)
    other = configured(methods=("vanilla",), **{**FIELDS, "learning_rate": 1e-3})
    records = run(other, digits(200), tmp_path, identity="another run")
    clean = run(other, digits(200), tmp_path / "clean", identity="another run")
    assert numbers(records) == numbers(clean)
    assert (tmp_path / "run.json").read_text() == "another run"


def test_a_marker_of_other_bytes_is_another_s(tmp_path):
    (tmp_path / "run.json").write_bytes(b"\xff\x00")
    Checkpoints(tmp_path, "λ")
    assert (tmp_path / "run.json").read_bytes() == "λ".encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[: len(content) // 2],
        lambda _: b"\x01",
        lambda content: content + b"\x00",
        lambda content: content.replace(b"progress", b"regressP"),
        lambda content: content.replace(b"train_loss", b"loss_train"),
        lambda content: content.replace(b"bias", b"bies"),
    ],
)
def test_a_damaged_one_is_named(damage, tmp_path):
    config = configured(epochs=1)
    run(config, digits(200), tmp_path)
    (file,) = tmp_path.glob("*.msgpack")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError) as error:
        run(config, digits(200), tmp_path)
    assert str(error.value) == (
        f"{file} is damaged: delete it, and its part of the run starts anew"
    )
    file.unlink()
    run(config, digits(200), tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_is_named(tmp_path):
    config = configured(epochs=1)
    run(config, digits(200), tmp_path)
    (file,) = tmp_path.glob("*.msgpack")
    file.unlink()
    file.with_suffix(".unfinished").symlink_to("/dev/full")
    with pytest.raises(UserError) as error:
        run(config, digits(200), tmp_path)
    assert str(error.value) == f"cannot write {file}: No space left on device"
    assert not file.exists()


def test_a_grid_s_lane_has_a_file(tmp_path, monkeypatch):
    """On an accelerator all members of a sweep are in one lane, with one name."""
    monkeypatch.setattr(
        "experiments.protocols.stage_loop.lanes", lambda members: [tuple(members)]
    )
    config = configured(protocol="single-task", methods=("swr_two",), epochs=1)
    values = [10.0**-k for k in range(5)]
    members = [
        Member(0, {"feature": feature, "classifier": classifier}, 1e-3)
        for feature in values
        for classifier in values
    ]
    checkpoints = Checkpoints(tmp_path, "a grid")
    arguments = (config, digits(200), "swr_two")
    first = run_members(*arguments, members, lambda *_: None, checkpoints)
    (file,) = tmp_path.glob("*.msgpack")
    assert len(os.fsencode(file.name)) < 100
    assert run_members(*arguments, members, lambda *_: None, checkpoints) == first
    # Coefficients that differ in the seventh digit are others.
    members[0] = Member(0, {"feature": 1 - 1e-7, "classifier": 1.0}, 1e-3)
    run_members(*arguments, members, lambda *_: None, checkpoints)
    assert len(list(tmp_path.glob("*.msgpack"))) == 2


def test_a_users_own_folder_is_left_alone(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds no checkpoint of ours: remove it, or"):
        Checkpoints(folder, "anything")
    assert (folder / "thesis.txt").read_text() == "years of work"
