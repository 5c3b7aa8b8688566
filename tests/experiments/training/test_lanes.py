"""Which members go together."""

from hypothesis import given, strategies as st
import pytest

from experiments.training.lanes import Member, layout


def members(count):
    return [Member(seed, 0.1, 1e-3) for seed in range(count)]


@pytest.mark.parametrize("devices", [1, 8])
def test_a_cpu_s_lanes_are_of_one(devices):
    assert layout(members(3), "cpu", devices) == [(one,) for one in members(3)]


@pytest.mark.parametrize(
    ("count", "devices", "sizes"),
    [
        (5, 1, [5]),
        (8, 4, [2, 2, 2, 2]),
        (5, 8, [1, 1, 1, 1, 1]),
        (5, 2, [2, 3]),
        (1, 4, [1]),
    ],
)
def test_accelerators_share_the_members(count, devices, sizes):
    assert list(map(len, layout(members(count), "gpu", devices))) == sizes


@given(st.integers(1, 100), st.integers(1, 16))
def test_no_member_is_lost_and_no_lane_much_longer(count, devices):
    found = layout(members(count), "tpu", devices)
    assert [one for lane in found for one in lane] == members(count)
    sizes = {len(lane) for lane in found}
    assert len(found) == min(count, devices)
    assert max(sizes) - min(sizes) <= 1
