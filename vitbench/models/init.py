"""Initial values: every parameter from a generator of its own."""

from __future__ import annotations

import math

import torch
from torch import nn

from vitbench.device import generator

EMBEDDING_STD = 0.5
"""Standard deviation of learned tokens and positions at first, where patches have about 1."""


@torch.no_grad()
def initialise(model: nn.Module, *, seed: int) -> None:
    """Give a model its initial values, in place.

    Weights of linear layers and convolutions come from a normal distribution with variance
    1 / fan-in, cut at two deviations; those of embeddings (learned tokens and positions are
    embeddings) from one with a deviation of 0.5; biases are 0. A module's own parameters that
    its `normal_std` names are normal with the deviation given there. Every other parameter keeps
    what its constructor gave it: 1 and 0 for a norm's weight and bias.

    Each parameter draws from `generator(seed, "init", its name)`: two models with the same seed
    have the same values wherever a name and a shape agree, whatever else they are made of.
    source: the scale of LeCun et al. 1998 (Efficient BackProp, section 4.6), as in the first
        implementation of ViT (arXiv:2010.11929) for its patch embedding. timm gives all of
        them 0.02, which suits a width of 768: there patches have about 0.14 and positions a
        seventh of that. Measured at width 64, on `shapes`: 43 % with 0.02 for all against 64 %
        with 1 / fan-in (280 steps of batch 64, one seed); positions of 0.2 give 93, 89 and
        86 % after 234 steps, of 0.5 95, 95 and 96 % (three seeds).
    """
    for path, module in model.named_modules():
        for name, std in getattr(module, "normal_std", {}).items():
            parameter = module.get_parameter(name)
            own = generator(seed, "init", f"{path}.{name}")
            parameter.copy_(std * torch.randn(parameter.shape, generator=own))
        if not isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                nn.init.zeros_(parameter)
                continue
            fan_in = parameter[0].numel()
            std = EMBEDDING_STD if isinstance(module, nn.Embedding) else 1 / math.sqrt(fan_in)
            values = torch.empty_like(parameter, device="cpu", dtype=torch.float32)
            own = generator(seed, "init", f"{path}.{name}")
            nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std, generator=own)
            parameter.copy_(values)
