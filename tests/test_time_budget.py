"""Laws of what decides whether a batch is measured."""

from __future__ import annotations

from fake_device import FakeDevice
from hypothesis import given
from hypothesis import strategies as st

from vitbench.measure.time_budget import estimate_batch


def estimated(*, launch_s, image_s, first_s, batch_size, limit_s=60.0, known=None):
    """Estimate a batch on a device in virtual time; returns it, and the time that it took.

    first_s: what the first call of every size takes more than those that follow
    """
    device = FakeDevice(launch_s=1e-6)

    def make_step(count):
        calls = []

        def step():
            device.submit(launch_s + count * image_s + first_s * (not calls))
            calls.append(count)

        return step

    found = estimate_batch(
        make_step,
        batch_size=batch_size,
        limit_s=limit_s,
        device=device,
        known={} if known is None else known,
    )
    return found, device.now_s()


@given(
    launch_s=st.floats(0, 1),
    image_s=st.floats(1e-6, 10),
    first_s=st.floats(0, 100),
    batch_size=st.integers(1, 1024),
)
def test_the_first_call_decides_nothing(launch_s, image_s, first_s, batch_size):
    """A batch is too slow when it is when warm, whatever its first call takes."""
    whole_s = launch_s + batch_size * image_s
    found, _ = estimated(launch_s=launch_s, image_s=image_s, first_s=first_s, batch_size=batch_size)
    if abs(whole_s - 60) > 1e-3:
        assert (found.batch_s > 60) == (whole_s > 60)


@given(image_s=st.floats(1e-6, 10), batch_size=st.integers(1, 1024))
def test_what_is_too_slow_is_found_out_at_a_part_of_the_limit(image_s, batch_size):
    """Some calls of a twentieth of the limit; or one image, where that alone takes longer."""
    found, spent_s = estimated(launch_s=0.0, image_s=image_s, first_s=0.0, batch_size=batch_size)
    if found.batch_s > 60:
        assert spent_s <= max(8 * 60 / 20, 6 * image_s) + 1e-3


def test_half_precision_on_a_gpu_is_measured():
    """0.37 s for the first image and 0.004 s for each of the next calls: not 94 s for 256."""
    found, _ = estimated(launch_s=0.004, image_s=0.0002, first_s=0.366, batch_size=256)
    assert found.batch_s < 0.06


def test_emulated_half_precision_is_skipped():
    """0.37 s for every image are 94 s for 256, warm or not; found in some seconds."""
    found, spent_s = estimated(launch_s=0.0, image_s=0.37, first_s=0.1, batch_size=256)
    assert 94 < found.batch_s < 96
    assert found.measured < 256
    assert spent_s < 24


def test_a_size_is_timed_once():
    """The next case of the same precision asks nothing again."""
    known = {}
    first, _ = estimated(launch_s=0.0, image_s=0.37, first_s=9.0, batch_size=256, known=known)
    again, spent_s = estimated(launch_s=0.0, image_s=0.37, first_s=9.0, batch_size=256, known=known)
    assert again == first
    assert spent_s == 0
