"""Laws of going on with a training."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_loop import ALL_RIGHT, CPU
from torch import nn

from vitbench.config.train import TrainConfig
from vitbench.data.datasets import Split
from vitbench.data.loader import Batches, Normalization
from vitbench.training.loop import Curves, train
from vitbench.training.optim import make_optimizer
from vitbench.training.state import HEAD, DamagedStateError, State, read_state, write_state

ABOUT = {"case": {"seed": 3}, "resumed": []}
EPOCHS = 4
CONFIG = TrainConfig(epochs=EPOCHS, batch_size=16, learning_rate=0.05, ema_decay=0.9)


def model_of(width: int = 2) -> nn.Module:
    """A small model, each time with the same values."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Dropout(0.5))


def fit(*, start: State | None = None) -> tuple[nn.Module, Curves, list[State]]:
    """Train on two classes, with dropout, and test the average of the weights."""
    own = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.randint(0, 256, (64, 1, 4, 4), generator=own).to(torch.uint8)
    split = Split(images=images, labels=labels, class_names=("even", "odd"))
    batches = Batches(
        split,
        batch_size=16,
        augment="none",
        device="cpu",
        seed=0,
        normalization=Normalization.of(split),
    )
    model, curves, states = model_of(), Curves(), []

    def keep(state: State) -> None:
        path = Path(f"{state.epoch}.state")
        write_state(path, state, about=ABOUT)
        states.append(read_state(path)[0])
        path.unlink()

    train(
        model,
        batches,
        config=CONFIG,
        compute=CPU,
        curves=curves,
        test=lambda: ALL_RIGHT,
        start=start,
        on_state=keep,
    )
    return model, curves, states


@pytest.fixture
def state() -> State:
    """A state after some epochs."""
    model = model_of()
    optimizer = make_optimizer(model, CONFIG)
    return State.of(
        {"model": model, "optimizer": optimizer}, epoch=2, curves=vars(Curves()), spent_s=1.5
    )


@pytest.mark.parametrize("epoch", range(EPOCHS + 1))
def test_a_training_that_goes_on_ends_like_one_that_was_never_cut_off(tmp_path, monkeypatch, epoch):
    """After any epoch, before the first and after the last: weights and curves, bit for bit."""
    monkeypatch.chdir(tmp_path)
    whole, curves, states = fit()
    assert [state.epoch for state in states] == list(range(EPOCHS + 1))
    rest, resumed, later = fit(start=states[epoch])
    assert [state.epoch for state in later] == list(range(epoch + 1, EPOCHS + 1))
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)
    measured = {"images_per_second"}
    for name in vars(curves).keys() - measured:
        assert getattr(curves, name) == getattr(resumed, name)
    assert len(resumed.images_per_second) == EPOCHS


def test_the_time_that_was_spent_counts(tmp_path, monkeypatch):
    """A training that goes on has the time behind it that it took before."""
    monkeypatch.chdir(tmp_path)
    _, _, states = fit()
    spent = [state.spent_s for state in states]
    assert spent == sorted(spent)
    _, _, later = fit(start=states[2])
    assert all(state.spent_s > states[2].spent_s for state in later)


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
def test_a_file_with_another_byte_is_damaged(tmp_path_factory, place, flip, cut):
    """Whichever byte is changed, and wherever the file ends too early."""
    path = tmp_path_factory.mktemp("state") / "training.state"
    model = model_of()
    whole = State.of({"model": model}, epoch=0, curves={}, spent_s=0.0)
    write_state(path, whole, about=ABOUT)
    data = bytearray(path.read_bytes())
    place %= len(data)
    if cut:
        del data[place:]
    else:
        data[place] ^= flip
    path.write_bytes(data)
    with pytest.raises(DamagedStateError, match=r"training\.state is damaged"):
        read_state(path)


def test_nothing_of_a_file_is_executed(tmp_path, capsys):
    """A file made with intent, under a right sum, is damaged and no more."""

    class Trap:
        def __reduce__(self):
            return print, ("executed",)

    path = tmp_path / "training.state"
    buffer = io.BytesIO()
    torch.save({"about": Trap()}, buffer)
    data = buffer.getvalue()
    path.write_bytes(f"{HEAD} {hashlib.sha256(data).hexdigest()}\n".encode() + data)
    with pytest.raises(DamagedStateError, match="is damaged") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_state_is_what_was_written(tmp_path, state):
    """Every field comes back, and what the training is."""
    path = tmp_path / "training.state"
    write_state(path, state, about=ABOUT)
    back, about = read_state(path)
    assert about == ABOUT
    assert (back.epoch, back.spent_s, back.curves) == (2, 1.5, state.curves)
    assert all(
        torch.equal(back.parts["model"][name], own) for name, own in state.parts["model"].items()
    )


def test_a_state_of_another_model_is_refused(state):
    """One line that says what does not fit."""
    model = model_of(width=3)
    with pytest.raises(DamagedStateError, match="the state is of another training") as caught:
        state.restore({"model": model}, curves={})
    assert "\n" not in str(caught.value)
