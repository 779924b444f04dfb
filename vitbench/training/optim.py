"""Optimisers, and which of them trains which parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.config.train import TrainConfig
from vitbench.errors import InputError
from vitbench.training.muon import Muon

Groups = list[dict[str, Any]]


class Optimizers:
    """Several optimisers, each with parameters of its own, used as one."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer | Optimizers]) -> None:
        self.parts = list(parts)

    @property
    def param_groups(self) -> Groups:
        """The groups of all of them, to be changed in place."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Let each take a step."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all of them."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for part, own in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(own)


def make_optimizer(
    model: nn.Module, config: TrainConfig, *, precision: str = "fp32"
) -> torch.optim.AdamW | Optimizers:
    """Return the optimiser a config names, with decay on the weights of layers alone.

    "adamw" is fused AdamW (arXiv:1711.05101). "muon" is Muon for the weights of linear layers in
    `blocks`, queries, keys and values apart, and for the kernels of convolutions that read what
    others wrote; and AdamW for the rest, so also for the first layer and the head, whose inputs or
    outputs are not a hidden space. (On CIFAR-10, 3 epochs, stem "conv", one seed: 62.8 % with
    AdamW for all, 67.9 % with Muon for the blocks, 72.4 % with Muon for the kernels, too.)

    Biases, norms, tokens and embeddings are not decayed, as usual for ViT (arXiv:2106.10270).
    precision: that of the training; Muon computes its updates in it
    Every group has `relative_rate`, its learning rate over AdamW's: the schedule is the same.
    raises: InputError for Muon and a model without linear layers in `blocks`
    """
    hidden = _hidden_weights(model) if config.optimizer == "muon" else []
    ids = {id(weight) for group in hidden for weight in group["params"]}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    adamw = _adamw(model, rest, config)
    if config.optimizer == "adamw":
        return adamw
    assert config.optimizer == "muon", config.optimizer
    if not hidden:
        raise InputError(
            "train.optimizer is 'muon', for linear layers in `blocks` of a model, and "
            f"{type(model).__name__} has none; expected 'adamw'"
        )
    relative = config.muon_learning_rate / config.learning_rate
    muon = Muon(
        [{**group, "relative_rate": relative} for group in hidden],
        lr=config.muon_learning_rate,
        weight_decay=config.weight_decay,
        bf16=precision == "bf16",
    )
    return Optimizers([muon, adamw])


def _adamw(
    model: nn.Module, parameters: list[nn.Parameter], config: TrainConfig
) -> torch.optim.AdamW:
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    ids = {id(layer.weight) for layer in layers}
    decayed = [parameter for parameter in parameters if id(parameter) in ids]
    other = [parameter for parameter in parameters if id(parameter) not in ids]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay, "relative_rate": 1.0},
        {"params": other, "weight_decay": 0.0, "relative_rate": 1.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
        capturable=all(parameter.is_cuda for parameter in parameters),
    )


def _hidden_weights(model: nn.Module) -> Groups:
    """Sort the weights between hidden spaces by the number of matrices in each."""
    sorted_by_pieces: dict[int, list[Tensor]] = {}
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    if kernels[1:]:
        sorted_by_pieces[1] = list(kernels[1:])
    for name, module in model.named_modules():
        if name.startswith("blocks.") and isinstance(module, nn.Linear):
            pieces = 1
            if name.endswith(".qkv"):
                heads = model.get_submodule(name.replace(".qkv", ".proj"))
                assert isinstance(heads, nn.Linear)
                pieces = module.out_features // heads.in_features
            sorted_by_pieces.setdefault(pieces, []).append(module.weight)
    return [{"params": weights, "pieces": n} for n, weights in sorted_by_pieces.items()]
