"""Laws of a compiled step."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from tiny import tiny

from vitbench.config.compute import ComputeConfig
from vitbench.runner.run import run, run_fused
from vitbench.training.compiled import forward_of
from vitbench.training.fused import CannotFuseError


@pytest.fixture
def calls(monkeypatch):
    """Torch's compiler without its last stage, which makes machine code; the list of its calls."""
    made = []
    compile_ = partial(torch.compile, backend="aot_eager")

    def counted(model, **how):
        made.append(how)
        return compile_(model, **how)

    monkeypatch.setattr(torch, "compile", counted)
    return made


@pytest.mark.parametrize("model", ["vit", "diffvit"])
def test_a_compiled_training_is_the_training(calls, model):
    """Losses, accuracies and weights' names are those of the model itself."""
    plain = tiny(model__name=model)
    compiled = dataclasses.replace(plain, compute=dataclasses.replace(plain.compute, compile=True))
    found, expected = run(compiled), run(plain)
    assert calls == [{"dynamic": False}]
    assert found.status == "ok", found.error
    assert found.curves.train_loss == pytest.approx(expected.curves.train_loss, rel=1e-4)
    weights = [outcome.trained.model.state_dict() for outcome in (found, expected)]
    assert weights[0].keys() == weights[1].keys()


def test_nothing_is_compiled_unless_asked_for(calls):
    """What a step calls is then the model itself."""
    model = torch.nn.Linear(2, 2)
    compute = ComputeConfig(device="cpu", precision="fp32")
    assert forward_of(model, compute=compute) is model
    assert not calls


def test_compiled_seeds_are_not_fused():
    """They are trained one by one, and the reason is said."""
    case = tiny(compute__compile=True)
    with pytest.raises(CannotFuseError, match=r"compute\.compile"):
        run_fused([case, dataclasses.replace(case, seed=1)])
