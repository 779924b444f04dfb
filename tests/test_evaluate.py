"""Laws of evaluation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitbench.config.compute import ComputeConfig
from vitbench.training.evaluate import evaluate

CPU = ComputeConfig(device="cpu", precision="fp32")


class Dropped(nn.Module):
    """A classifier that answers differently in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 5)
        self.dropout = nn.Dropout(0.9)

    def forward(self, images):
        """Map (b, c, h, w) to (b, 5)."""
        return self.dropout(self.linear(images.flatten(1)))


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_batches_do_not_change_the_result(batch_size):
    """Predictions, confidences and loss are those of one pass over all images, without smoothing."""
    torch.manual_seed(0)
    model, images, labels = Dropped(), torch.randn(40, 3, 2, 2), torch.randint(5, (40,))
    found = evaluate(
        model, zip(images.split(batch_size), labels.split(batch_size), strict=True), compute=CPU
    )
    with torch.no_grad():
        logits = model.eval()(images)
    assert torch.equal(found.predicted, logits.argmax(1))
    assert torch.equal(found.target, labels)
    torch.testing.assert_close(found.confidence, logits.softmax(1).amax(1))
    assert found.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    assert found.accuracy == pytest.approx(
        100 * (logits.argmax(1) == labels).double().mean().item()
    )


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_left_as_it_was(training):
    """Evaluating amid a training does not end it."""
    model = Dropped().train(training)
    evaluate(model, [(torch.zeros(2, 3, 2, 2), torch.zeros(2, dtype=torch.long))], compute=CPU)
    assert model.training is training
