"""Contrastive training of image and text: one readable loop."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitbench.config.compute import ComputeConfig
from vitbench.config.train import TrainConfig
from vitbench.data.captions import captions
from vitbench.data.loader import Batches
from vitbench.device import autocast, generator, randomness, synchronize
from vitbench.training.loop import Curves, DivergedError
from vitbench.training.schedules import learning_rate
from vitbench.training.step import separate_gradients

MAX_LOGIT_SCALE = math.log(100)
"""Cosines are multiplied by at most 100 (arXiv:2103.00020, section 2.5)."""


def contrastive_loss(cosines: Tensor, *, scale: Tensor, is_true: Tensor) -> Tensor:
    """Return the loss of images and their captions, each to be found among all of a batch.

    Where every caption is true of its own image alone this is CLIP's: the mean of two
    cross-entropies, of a caption's place given the image and of an image's place given the
    caption. Where captions are true of several images, all of them are right, in equal shares.

    cosines: (b, b) of image i and caption j; scale: (), what they are multiplied by
    is_true: (b, b) bool, whether caption j is true of image i; true for i = j
    returns: (), nats
    source: arXiv:2103.00020, figure 3; several that are right as in arXiv:2204.03610, section 3.2
    """
    right = is_true.to(cosines.dtype)
    logits = scale * cosines
    of_images = F.cross_entropy(logits, right / right.sum(dim=1, keepdim=True))
    of_captions = F.cross_entropy(logits.T, right.T / right.T.sum(dim=1, keepdim=True))
    return (of_images + of_captions) / 2


def train_contrastive(
    clip: Any,
    batches: Batches,
    *,
    subjects: tuple[str, ...],
    tokenize: Callable[[Sequence[str]], Tensor],
    config: TrainConfig,
    epochs: int,
    compute: ComputeConfig,
    curves: Curves,
    on_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Train a CLIP model of open_clip in place, with a new caption for every image of an epoch.

    AdamW with `config`'s rate, schedule, decay and clipping of gradients; matrices decay, and
    embeddings of words and places do not: most words never occur, and keep their first values.

    batches: their labels are places in `subjects`, what a caption can be about
    tokenize: texts -> (b, context) token ids
    curves: filled with the loss and rate of every step, and the speed of every epoch
    on_epoch: told the number of epochs done and the last one's mean loss
    raises: DivergedError when a loss is not finite
    """
    steps = epochs * batches.steps_per_epoch
    optimizer = _adamw(clip, config)
    known: dict[str, Tensor] = {}
    clip.train()
    for epoch in range(epochs):
        draws = generator(batches.seed, "captions", epoch)
        losses: list[Tensor] = []
        started = time.perf_counter()
        for images, labels in batches.epoch(epoch):
            step = epoch * batches.steps_per_epoch + len(losses)
            rate = learning_rate(step, steps=steps, config=config)
            written = captions(labels, subjects, generator=draws)
            unique = sorted(set(written.texts))
            for text in set(unique) - known.keys():
                known[text] = tokenize([text])[0]
            tokens = torch.stack([known[text] for text in unique]).to(compute.device)
            order = [unique.index(text) for text in written.texts]
            places = torch.tensor(order, device=compute.device)
            with randomness(batches.seed, "step", step, device=compute.device), autocast(compute):
                image_features = clip.encode_image(images, normalize=True)
                text_features = clip.encode_text(tokens, normalize=True)[places]
                cosines = image_features @ text_features.T
            loss = contrastive_loss(
                cosines.float(), scale=clip.logit_scale.exp(), is_true=written.is_true
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it so
            _update(clip, optimizer, rate=rate, config=config)
            losses.append(loss.detach())
            curves.learning_rate.append(rate)
        synchronize(compute.device)
        curves.images_per_second.append(
            len(losses) * config.batch_size / (time.perf_counter() - started)
        )
        curves.train_loss += torch.stack(losses).tolist()
        if not all(map(math.isfinite, curves.train_loss)):
            raise DivergedError(f"diverged: contrastive loss not finite in epoch {epoch}")
        if on_epoch is not None:
            on_epoch(epoch + 1, statistics.fmean(curves.train_loss[-len(losses) :]))
    clip.eval()


def _adamw(clip: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    decayed: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in clip.named_parameters():
        is_matrix = parameter.ndim > 1 and "embedding" not in name
        (decayed if is_matrix else other).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": other, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


@torch.no_grad()
def _update(
    clip: Any, optimizer: torch.optim.Optimizer, *, rate: float, config: TrainConfig
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    if config.grad_clip_norm is not None:
        separate_gradients(clip)
        nn.utils.clip_grad_norm_(clip.parameters(), config.grad_clip_norm)
    optimizer.step()
    clip.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
