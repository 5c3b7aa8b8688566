"""Which images each stage sees."""

from hypothesis import given, strategies as st
import numpy as np
import pytest

from experiments.protocols.stages import PROTOCOLS, images_of_stage

ENOUGH = st.integers(10, 300)
SEEDS = st.integers(0, 9)


def stages(protocol, images, seed):
    count = PROTOCOLS[protocol].stages
    return [images_of_stage(protocol, images, k, seed) for k in range(1, count + 1)]


@given(images=ENOUGH, seed=SEEDS)
def test_chunks_are_disjoint_equal_and_all(images, seed):
    chunks = stages("continual-limited", images, seed)
    assert len(chunks) == 10
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) - min(sizes) <= 1
    np.testing.assert_array_equal(np.sort(np.concatenate(chunks)), np.arange(images))


@given(images=ENOUGH, seed=SEEDS)
def test_full_access_is_to_all_chunks_so_far(images, seed):
    chunks = stages("continual-limited", images, seed)
    for k, seen in enumerate(stages("continual-full", images, seed), 1):
        np.testing.assert_array_equal(seen, np.sort(np.concatenate(chunks[:k])))


@given(images=ENOUGH, seed=SEEDS)
def test_a_warm_start_is_on_half(images, seed):
    half, everything = stages("warm-start", images, seed)
    assert len(half) == len(set(half)) == images // 2
    assert set(half) <= set(range(images))
    np.testing.assert_array_equal(everything, np.arange(images))


@pytest.mark.parametrize(
    "protocol", ["single-task", "single-task-decay", "proportionality", "balancedness"]
)
def test_others_see_everything_from_the_start(protocol):
    (everything,) = stages(protocol, 30, 0)
    np.testing.assert_array_equal(everything, np.arange(30))


@pytest.mark.parametrize("protocol", ["warm-start", "continual-limited"])
def test_the_choice_is_random_and_the_seed_s_own(protocol):
    first, again, other = (stages(protocol, 1000, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    # Of two independent random choices of a share p, a share p is in common.
    share = len(first) / 1000
    assert abs(len(np.intersect1d(first, other)) / len(first) - share) < 0.15
    # No stretch of the data, which may be in the order of classes.
    assert np.ptp(first) > 900


def test_lengths_are_the_paper_s():
    lengths = {name: (p.stages, p.epochs, p.drops) for name, p in PROTOCOLS.items()}
    assert lengths == {
        "warm-start": (2, 100, ()),
        "continual-full": (10, 100, ()),
        "continual-limited": (10, 100, ()),
        "single-task": (1, 200, ()),
        "single-task-decay": (1, 200, (0.5, 0.75)),
        "proportionality": (1, 100, ()),
        "balancedness": (1, 200, ()),  # The authors' code has it.
    }
