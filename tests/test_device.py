"""Laws of devices, precision and seeds."""

from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench import device
from vitbench.config.case import Case
from vitbench.config.compute import ComputeConfig
from vitbench.errors import InputError

concerns = st.lists(st.one_of(st.text(max_size=5), st.integers(0, 100)), max_size=3)


@given(seed=st.integers(0, 2**40), concern=concerns)
def test_a_generator_depends_on_seed_and_concern_alone(seed, concern):
    """The same words give the same stream, whatever was drawn elsewhere."""
    first = torch.rand(4, generator=device.generator(seed, *concern))
    torch.rand(3)
    second = torch.rand(4, generator=device.generator(seed, *concern))
    assert torch.equal(first, second)


@given(seed=st.integers(0, 1000), concern=concerns)
def test_other_words_give_another_stream(seed, concern):
    """Seeds and concerns are independent of each other."""
    here = torch.rand(4, generator=device.generator(seed, *concern))
    for other in ((seed + 1, *concern), (seed, *concern, "more")):
        assert not torch.equal(here, torch.rand(4, generator=device.generator(*other)))


def test_auto_is_resolved_to_what_there_is():
    """After resolving, nothing is left to be decided."""
    compute = device.resolve(Case()).compute
    assert "auto" not in (compute.device, compute.precision)
    assert device.resolve(Case(compute=compute)).compute == compute


@pytest.mark.parametrize(
    ("native", "width", "precision"),
    [(True, 192, "bf16"), (True, 64, "fp32"), (False, 192, "fp32")],
)
def test_bf16_is_taken_where_it_pays(monkeypatch, native, width, precision):
    """Auto takes bf16 on a CPU that multiplies it natively, for models wide enough."""
    monkeypatch.setattr(device, "has_native_bf16", lambda: native)
    case = Case().replace({"model.width": width, "compute.device": "cpu"})
    assert device.resolve(case).compute.precision == precision


def test_an_explicit_precision_is_kept(monkeypatch):
    """What was asked for is not second-guessed."""
    monkeypatch.setattr(device, "has_native_bf16", lambda: False)
    case = Case(compute=ComputeConfig(device="cpu", precision="bf16"))
    assert device.resolve(case) == case


def test_a_missing_device_is_named_with_those_there_are(monkeypatch):
    """Asking for CUDA without CUDA is a mistake with an answer."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=r"device 'cuda' is not on this machine; it has: cpu"):
        device.resolve(Case(compute=ComputeConfig(device="cuda")))


@given(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(["gpu", "CPU", "cuda:", "cuda:01", "cuda:-1", "meta", "cpu:0", "", " cpu"]),
        st.integers(0, 10**25).map("cuda:{}".format),
    )
)
def test_a_name_of_a_device_is_found_or_told_in_a_line(name):
    """Whatever is given: a device that tensors can be made on, or one line that says what it was."""
    with contextlib.suppress(InputError):
        assert torch.zeros(1, device=device.find_device(name, given_as="--device")).item() == 0
        return
    with pytest.raises(InputError) as told:
        device.find_device(name, given_as="--device")
    assert "\n" not in str(told.value)
    assert str(told.value).startswith((f"--device is {name!r}; ", f"device {name!r} is not on"))


@given(seed=st.integers(0, 2**40), concern=concerns)
def test_what_draws_without_a_generator_can_be_given_one(seed, concern):
    """It draws what the generator of the concern draws, and the state before is back after."""
    torch.manual_seed(seed % 7)
    before = torch.get_rng_state()
    with device.randomness(seed, *concern):
        drawn = torch.rand(4)
    assert torch.equal(drawn, torch.rand(4, generator=device.generator(seed, *concern)))
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_follows_the_precision():
    """In bf16 a matrix product is computed in bf16, in fp32 it is not."""
    matrix = torch.ones(2, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with device.autocast(ComputeConfig(device="cpu", precision=precision)):
            assert (matrix @ matrix).dtype == dtype


def test_running_out_of_memory_is_recognised():
    """An allocation that cannot be had says so; another error does not."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert device.is_out_of_memory(caught.value)
    assert device.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not device.is_out_of_memory(RuntimeError("shapes do not agree"))


def write_frequencies(folder, *khz):
    for core, each in enumerate(khz):
        file = folder / f"cpu{core}" / "cpufreq" / "scaling_cur_freq"
        file.parent.mkdir(parents=True)
        file.write_text(f"{each}\n")


def test_the_frequency_of_a_processor_is_its_fastest_cores(monkeypatch, tmp_path):
    """Idle cores are slow on purpose."""
    write_frequencies(tmp_path, "800000", "3400000", "1200000")
    monkeypatch.setattr(device, "FREQUENCIES", tmp_path)
    assert device.clock_mhz("cpu") == (3400.0, None)


@pytest.mark.parametrize("content", [(), ("",), ("unknown",)])
def test_a_frequency_that_cannot_be_read_has_a_reason(monkeypatch, tmp_path, content):
    """A machine inside another often does not show it."""
    write_frequencies(tmp_path, *content)
    monkeypatch.setattr(device, "FREQUENCIES", tmp_path)
    assert device.clock_mhz("cpu") == (None, "this system does not tell")


def test_a_driver_that_does_not_tell_its_frequency_gives_the_reason(monkeypatch):
    """The package that asks it may be missing."""

    def missing(name):
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed\nor it is broken")

    monkeypatch.setattr(torch.cuda, "clock_rate", missing)
    value, reason = device.clock_mhz("cuda:0")
    assert value is None
    assert reason == "the driver does not tell: nvidia-ml-py does not seem to be installed"
    monkeypatch.setattr(torch.cuda, "clock_rate", lambda name: 1980)
    assert device.clock_mhz("cuda:0") == (1980.0, None)
