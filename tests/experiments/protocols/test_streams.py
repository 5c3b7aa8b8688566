"""The table of streams: what it names exists and fits together."""

import pytest

from experiments.data import SOURCES
from experiments.methods import METHODS
from experiments.models import MODELS
from experiments.protocols.config import Config, profile_options
from experiments.protocols.streams import METHODS_COMPARED, STREAMS

ENTRIES = [
    (name, profile, dataset)
    for name, stream in STREAMS.items()
    for profile in ("paper", "quick")
    for dataset in stream.published
]


@pytest.mark.parametrize(("name", "profile", "dataset"), ENTRIES)
def test_each_length_makes_a_configuration(name, profile, dataset):
    stream = STREAMS[name]
    lengths = stream.quick if profile == "quick" else stream.published
    size, tasks, model = lengths[dataset]
    options = profile_options(profile, name, model, dataset)
    config = Config(name, dataset, model, **options)
    assert config.is_stream
    assert config.size == size
    assert config.stream_tasks == config.protocol_stages == tasks
    assert config.seeds == (2 if profile == "quick" else 5)
    assert config.methods == METHODS_COMPARED
    # Digits are as small as they are: both profiles have the same lengths.
    assert config.profile in (profile, "paper")
    assert stream.sized == (size.images is not None)


@pytest.mark.parametrize("name", STREAMS)
def test_what_is_quick_is_for_the_same_sets_and_no_longer(name):
    stream = STREAMS[name]
    assert list(stream.quick) == list(stream.published)
    for dataset, (size, tasks, _) in stream.quick.items():
        published, count, _ = stream.published[dataset]
        assert tasks <= count
        assert size.epochs <= published.epochs
        assert (size.images or 0) <= (published.images or 0)
    for dataset in stream.published:
        assert dataset in SOURCES
    assert stream.title
    assert stream.help
    assert stream.source


def test_what_is_compared_has_a_control():
    assert set(METHODS_COMPARED) <= set(METHODS)
    assert "vanilla" in METHODS_COMPARED
    assert [name for name in METHODS_COMPARED if METHODS[name].fresh] == ["fresh"]
    for lengths in (stream.published for stream in STREAMS.values()):
        assert {length.model for length in lengths.values()} <= set(MODELS)
