"""An unfinished run goes on with the data that it began with, or not at all."""

import dataclasses
import json

import pytest

from experiments.commands import proportionality, stages, streams, sweep
from experiments.data import load_dataset
from experiments.errors import UserError
from experiments.protocols.config import Config

FIELDS = {"methods": ("swr",), "seeds": 1, "epochs": 1, "train_images": 64}
STREAM = {"tasks": 2, "batch_size": 16}
RUNS = {
    "warm-start": stages.run,
    "proportionality": proportionality.run,
    "random-labels": streams.run,
    "sweep": sweep.run,
}


class UnpluggedError(Exception):
    pass


def unplugged(*_):
    raise UnpluggedError


@pytest.mark.parametrize("command", RUNS)
def test_other_data_of_the_same_name_are_refused(command, tmp_path, monkeypatch):
    """Which differ by one pixel; what runs is then not touched."""
    digits = load_dataset("digits")
    pixels = digits.test_images.copy()
    pixels[-1, -1, -1, 0] ^= 1
    others = dataclasses.replace(digits, test_images=pixels)
    more = STREAM if command in ("random-labels", "sweep") else {}
    protocol = "random-labels" if command == "sweep" else command
    config = Config(protocol=protocol, **FIELDS, **more)
    out = tmp_path / "out"
    first = [config, out, None]
    if command == "sweep":
        first = [config, (1e-3,), (1e-3,), out, None]
    if command != "proportionality":
        first.append(False)

    def run():
        RUNS[command](*first, engine=unplugged)

    marker = out / "checkpoint" / "run.json"
    with pytest.raises(UnpluggedError):
        run()
    begun = marker.read_bytes()
    assert json.loads(json.loads(begun)["run"])["data"] == digits.digest
    with pytest.raises(UnpluggedError):
        run()  # It would go on.
    monkeypatch.setattr(stages, "load_dataset", lambda *_: others)
    with pytest.raises(UserError) as error:
        run()
    assert str(error.value) == (
        f"{marker.parent} holds an unfinished run of another configuration (the data"
        " differ): give its own options again to go on, choose another --out, or throw"
        " it away with --restart"
    )
    assert marker.read_bytes() == begun
