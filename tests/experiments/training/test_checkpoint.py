"""Runs that are interrupted for real, and go on."""

import json
import os
from pathlib import Path
import shutil
import tempfile

from flax import serialization
from hypothesis import given, reject, strategies as st
import jax
import numpy as np
import pytest

from experiments.commands.folder import alone_in
from experiments.errors import UserError
from experiments.protocols.stage_loop import run_members
from experiments.training import checkpoint
from experiments.training.checkpoint import Checkpoints, File, Lane
from experiments.training.lanes import Member
import mutations
from real_loops import configured, digits, numbers, run


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


def interrupted(config, dataset, folder, *at, **identity):
    plug = Plug(*at)
    with pytest.raises(PulledPlugError):
        run(config, dataset, folder, plug.tick, **identity)
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
            "methods": ("swr_two",),
            "coefficients": {"swr_two": {"feature": 0.05, "classifier": 0.2}},
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


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder, identity):
    """What is said, in one line, of a checkpoint that stays as it is."""
    before = contents(folder)
    with pytest.raises(UserError) as error:
        Checkpoints(folder, identity)
    assert contents(folder) == before
    said = str(error.value)
    assert "\n" not in said
    assert said.endswith("choose another --out, or throw it away with --restart")
    return said


OTHERS = [
    ({"epochs": 10}, "epochs 2 → 10"),
    ({"methods": ("vanilla", "head_reset")}, "methods vanilla → vanilla head_reset"),
    ({"train_images": 9}, "train_images none → 9"),
    (
        {"methods": ("l2",), "coefficients": {"l2": 0.5}, "learning_rates": {"l2": 1}},
        "methods vanilla → l2, coefficients.l2 none → 0.5, learning_rates.l2 none → 1",
    ),
]


@pytest.mark.usefixtures("saving_often")
@pytest.mark.parametrize(("fields", "named"), OTHERS)
def test_one_of_another_configuration_is_kept_and_named(fields, named, tmp_path):
    config = configured(methods=("vanilla",))
    interrupted(config, digits(200), tmp_path, 2, 1, identity=config.to_json())
    identity = configured(**{"methods": ("vanilla",), **fields}).to_json()
    said = refused(tmp_path, identity)
    assert said.startswith(
        f"{tmp_path} holds an unfinished run of another configuration ({named}): give"
        " its own options again to go on, choose"
    )
    seen = []
    go_on = {"tick": seen.append, "identity": config.to_json()}
    run(config, digits(200), tmp_path, **go_on)
    assert [len(some) for some in seen] == [2, 1, 1, 1]
    # Only when it is told to, it is thrown away.
    Checkpoints(tmp_path, identity, restart=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert not list(tmp_path.parent.glob(".unfinished-*"))


def test_versions_and_devices_are_named():
    before = {"versions": {"jax": "0.9", "numpy": "2"}, "device": {"kind": "a"}}
    now = {"versions": {"jax": "0.10", "numpy": "2"}, "device": {"kind": "b"}}
    said = checkpoint.differences(json.dumps(before), json.dumps(now))
    assert said == "versions.jax 0.9 → 0.10, device.kind a → b"
    for before, now, said in (
        # How many stages there are is named alone only.
        (
            {"protocol": "a", "stages": 1},
            {"protocol": "b", "stages": 2},
            "protocol a → b",
        ),
        (
            {"protocol": "a", "stages": 1},
            {"protocol": "a", "stages": 2},
            "stages 1 → 2",
        ),
        ({"a": None}, {}, "of another form"),
        ({"data": "0f"}, {"data": "1e"}, "the data differ"),
        ({}, {"data": "1e"}, "data none → 1e"),  # From before it was noted.
    ):
        assert checkpoint.differences(json.dumps(before), json.dumps(now)) == said
    before, now = {"model": "a\nb"}, {"model": "x" * 1000}
    assert checkpoint.differences(json.dumps(before), json.dumps(now)) == (
        f"model 'a\\nb' → {'x' * 150}…"
    )
    many = ({str(i): value for i in range(20)} for value in (1, 2))
    assert checkpoint.differences(*map(json.dumps, many)).endswith("and 12 more")


def test_what_a_version_calls_a_run_makes_it_no_other(tmp_path):
    """A profile only names the lengths, and that has changed before."""
    before, now = (
        json.dumps({"profile": profile, "epochs": 1}) for profile in ("custom", "paper")
    )
    assert checkpoint.differences(before, now) == ""
    assert checkpoint.differences(before, now.replace("1", "2")) == "epochs 1 → 2"
    assert checkpoint.differences(before, now.replace("1", '"1"')) != ""
    checkpoint.Checkpoints(tmp_path / "checkpoint", before)
    checkpoint.Checkpoints(tmp_path / "checkpoint", now)


def test_fields_that_may_differ_are_named():
    before, now = json.dumps({"data": "0f", "a": 1}), json.dumps({"data": "1e", "a": 1})
    assert checkpoint.differences(before, now, besides=("data",)) == ""
    assert checkpoint.differences(before, now, besides=("a",)) == "the data differ"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\x00", "run.json is damaged: "),
        (b"", "run.json is damaged: "),
        (b"[]", "run.json is damaged: "),
        (b"[" * 100_000, "run.json is damaged: "),
        (b'{"protocol": "warm-start"}', "holds an unfinished run in format 1, and"),
        (b'{"format": 3, "run": ""}', "holds an unfinished run in format 3, and this"),
        (b'{"format": 2, "run": "x"}', "another configuration (of another kind): give"),
    ],
)
def test_another_marker_is_kept_and_named(content, reason, tmp_path):
    (tmp_path / "run.json").write_bytes(content)
    assert reason in refused(tmp_path, "λ")
    Checkpoints(tmp_path, "λ", restart=True)
    Checkpoints(tmp_path, "λ")


def test_killed_before_there_is_a_marker_it_starts_anew(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "run.unfinished").write_text("half")
    Checkpoints(folder, "a run")
    assert {p.name for p in tmp_path.rglob("*")} == {"checkpoint", "run.json"}


@pytest.mark.parametrize("again", [False, True])
def test_killed_while_one_is_thrown_away_nothing_is_left(again, tmp_path, monkeypatch):
    """Neither by the same run, which is there, nor by one that begins anew."""
    checkpoints = Checkpoints(tmp_path / "checkpoint", "a run")

    def killed(*_, **__):
        if not checkpoints.folder.exists():
            raise PulledPlugError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(PulledPlugError):
            checkpoints.remove()
    assert list(tmp_path.iterdir())
    with alone_in(tmp_path):
        if again:
            Checkpoints(tmp_path / "checkpoint", "a run").remove()
    assert not list(tmp_path.iterdir())


DAMAGES = [
    lambda _: b"",
    lambda content: content[: len(content) // 2],
    lambda _: b"\x01",
    lambda content: content + b"\x00",
    lambda content: content.replace(b"progress", b"regressP"),
    # Numbers that would end up in the table of results.
    lambda content: content.replace(b'"test_accuracy": 0.', b'"test_accuracy": 9.'),
    lambda content: content.replace(b'"done": [1, 2]', b'"done": [9, 2]'),
    lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    lambda content: content.replace(b"checkpoint 2", b"checkpoint 1"),
]
LINE = "resumed: {} has 1 part of the run\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint with two saves, and what the run gives in the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)
        folder = tmp_path_factory.mktemp("saved")
        interrupted(configured(), digits(200), folder, 2, 1)
        return folder, run(configured(), digits(200), folder / "whole")


def again(saved, folder, change, capsys):
    """Goes on from the save after a change; what is told at first, and what is said."""
    source, whole = saved
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    (file,) = folder.glob("*.msgpack")
    change(file, file.with_suffix(".before"))
    capsys.readouterr()
    seen = []
    records = run(configured(), digits(200), folder, lambda some: seen.append(some))
    assert numbers(records) == numbers(whole)
    assert len({(r.stage, r.epoch) for some in seen for r in some}) == 5
    assert sum(map(len, seen)) == 5
    return len(seen[0]), file, capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGES)
def test_instead_of_a_damaged_one_the_one_before_is_taken(
    damage, saved, tmp_path, capsys
):
    def change(file, _):
        before = file.read_bytes()
        file.write_bytes(damage(before))
        assert file.read_bytes() != before

    told, file, err = again(saved, tmp_path, change, capsys)
    assert told == 1  # The epoch before the last.
    assert err == (
        f"{file} is damaged: going on from the save before it\n" + LINE.format(tmp_path)
    )


def test_killed_between_two_names_the_one_before_is_taken(saved, tmp_path, capsys):
    told, file, err = again(saved, tmp_path, lambda file, _: file.unlink(), capsys)
    assert told == 1
    assert err.startswith(f"{file} is missing: going on from the save before it\n")


def test_damage_to_the_one_before_is_nothing(saved, tmp_path, capsys):
    change = lambda _, before: before.write_bytes(b"")  # noqa: E731
    told, _, err = again(saved, tmp_path, change, capsys)
    assert told == 2
    assert err == LINE.format(tmp_path)


def test_with_no_whole_one_that_part_starts_anew(saved, tmp_path, capsys):
    def change(file, before):
        file.write_bytes(file.read_bytes()[:-1])
        before.unlink()

    told, file, err = again(saved, tmp_path, change, capsys)
    assert told == 1
    assert err == (
        f"{file} is damaged, and no save before it is whole: its part of the run starts"
        " anew\n"
    )


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A folder for markers, and what they say."""
    return tmp_path_factory.mktemp("marked"), configured().to_json()


@given(data=st.data())
@mutations.tries(60)
def test_a_mutated_marker_is_refused_in_a_line(marked, data):
    folder, identity = marked
    marker = folder / "run.json"
    whole = {"format": checkpoint.FORMAT, "run": identity}
    run = mutations.document(json.loads(identity)).map(lambda text: text.decode())
    change = st.one_of(
        mutations.content(json.dumps(whole).encode()),
        mutations.document(whole),
        run.map(lambda run: json.dumps({**whole, "run": run}).encode()),
    )
    content = data.draw(change)
    marker.write_bytes(content)
    said = ""
    try:
        Checkpoints(folder, identity)
    except UserError as error:
        said = str(error)
    if said:
        assert said.isprintable()
        assert len(said) < 3000
        assert str(folder) in said
    else:
        found = json.loads(content)
        assert found["format"] == checkpoint.FORMAT
        run, expected = json.loads(found["run"]), json.loads(identity)
        del expected["profile"]  # Which names what others say.
        run.pop("profile", None)
        # As text, since to Python True is 1.
        assert json.dumps(run, sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert marker.read_bytes() == content


@given(data=st.data())
@mutations.tries(60)
def test_a_mutated_lane_is_not_read(saved, data):
    (file,) = saved[0].glob("*.msgpack")
    whole = file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lane.msgpack"
        content = data.draw(mutations.content(whole))
        path.write_bytes(content)
        assert File(path).read() == (None if content != whole else _saved(whole))


def _saved(content):
    return content[len(checkpoint.HEAD) + 32 :]


class Kept:
    """A storage in memory."""

    def __init__(self, content=None):
        self.content = content

    def __str__(self):
        return "a lane"

    def read(self):
        return self.content

    def write(self, content):
        self.content = content


@given(data=st.data())
@mutations.tries(60)
def test_what_another_program_has_saved_is_refused_in_a_line(data):
    """With a right checksum, so that only what is in it can say so."""
    state = {"key": jax.random.key(0), "weights": (np.ones((2, 3)), np.arange(3))}
    kept = Kept()
    Lane(kept, 0.0).save(state, {"done": [1, 2], "records": {"accuracy": 0.5}})
    whole = serialization.msgpack_restore(kept.content)
    content = data.draw(mutations.content(kept.content) | mutations.tree(whole))
    if not isinstance(content, bytes):
        try:
            content = serialization.msgpack_serialize(content)
        except (ValueError, TypeError, OverflowError, AttributeError):
            reject()
    lane = Lane(Kept(content), 0.0)
    said = ""
    try:
        found, _ = lane.load(lambda _: state, lambda progress: progress["done"])
        assert jax.tree.structure(found) == jax.tree.structure(state)
    except UserError as error:
        said = str(error)
    assert said in (
        "",
        "a lane does not fit this run: choose another --out, or throw it away with"
        " --restart",
    )


def test_a_whole_one_of_another_network_is_refused(tmp_path):
    config = configured(epochs=1)
    run(config, digits(200), tmp_path)
    with pytest.raises(UserError) as error:
        run(config, digits(200, 16), tmp_path)
    (file,) = tmp_path.glob("*.msgpack")
    assert str(error.value) == (
        f"{file} does not fit this run: choose another --out, or throw it away with"
        " --restart"
    )
    File(file).write(b"\x01")
    with pytest.raises(UserError, match="does not fit this run: choose another"):
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


def test_no_folder_is_named(tmp_path):
    (tmp_path / "checkpoint").write_text("years of work")
    with pytest.raises(UserError) as error:
        Checkpoints(tmp_path / "checkpoint", "anything", restart=True)
    assert str(error.value) == f"cannot use {tmp_path}/checkpoint: Not a directory"
    assert (tmp_path / "checkpoint").read_text() == "years of work"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_disk_that_is_full_from_the_start_is_named(tmp_path):
    (tmp_path / "run.unfinished").symlink_to("/dev/full")
    with pytest.raises(UserError) as error:
        Checkpoints(tmp_path, "a run")
    assert str(error.value) == (
        f"cannot write {tmp_path}/run.json: No space left on device"
    )


def test_a_users_own_folder_is_left_alone(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds no checkpoint of ours: remove it, or"):
        Checkpoints(folder, "anything")
    assert (folder / "thesis.txt").read_text() == "years of work"
