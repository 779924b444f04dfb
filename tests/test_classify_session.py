"""A study of classifiers, as a user meets it: a session on photos, one of them broken."""

from __future__ import annotations

import scipy.special  # noqa: F401  in-process sessions forget what they import, and this
import torchvision  # noqa: F401  cannot be imported twice
from PIL import Image

import vitbench.report.image_pairs.page
import vitbench.report.text
import vitbench.runner.cells
import vitbench.tasks.classify  # noqa: F401

STUDY = '''
"""Which of two channels tells red from blue?"""
import torch
from torch import nn
from vitbench import Case, Study
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.preprocessing import Preprocessing
from vitbench.registry import CLASSIFIERS


class Channel(nn.Module):
    def __init__(self, channel):
        super().__init__()
        self.channel, self.bias = channel, nn.Parameter(torch.zeros(()))

    def forward(self, images):
        value = images[:, self.channel].mean(dim=(1, 2)) + self.bias
        return torch.stack([-value, value], dim=1)


@CLASSIFIERS.register("channel")
def channel(name, *, weights, request):
    """`channel:0` says b of what is red, and a of the rest."""
    return ForeignModel(
        name=name, image=Channel(int(name)), kind="classifier", outputs=2, weights=weights,
        preprocessing=Preprocessing(resize_px=8, crop_px=(8, 8), interpolation="bilinear",
                                    mean=(0.5,) * 3, std=(0.5,) * 3))


def baseline(case, path):
    return case.classify.baseline

study = Study(
    "channels",
    base=Case.of(settings={"classify.model": "channel:0", "classify.baseline": "channel:1"}),
    arms={"red": {"classify.baseline": lambda case, path: None},
          "green": {"classify.model": baseline, "classify.baseline": lambda case, path: None}},
    baseline="green",
    metrics=["test_accuracy", "calibration_error"],
    equal=["test_images"],
)

@study.cases
def test_channels(case, run_case):
    assert run_case(case).metric("unreadable_images") == 1
'''


def test_a_study_of_classifiers_ends_with_galleries(pytester, monkeypatch):
    """A broken photo is reported although warnings are errors; pair, galleries and page are named."""
    monkeypatch.delenv("VITBENCH_DATA", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\naddopts = -p no:cacheprovider -p no:hypothesispytest\n"
    )
    pytester.makepyfile(test_channels=STUDY)
    for name, colour in (("a", (0, 0, 200)), ("b", (200, 0, 0))):
        folder = pytester.path / "photos" / name
        folder.mkdir(parents=True)
        for place in range(4):
            Image.new("RGB", (9, 9), colour).save(folder / f"{place}.png")
    (pytester.path / "photos" / "b" / "2.png").write_bytes(b"torn")
    result = pytester.runpytest_inprocess(
        "--study-seeds", "1", "--study-dataset", f"imagefolder:{pytester.path / 'photos'}"
    )
    result.assert_outcomes(passed=2, warnings=2)
    out = result.stdout.str()
    assert "1 of 8 images cannot be read and are left out: b/2.png (no image)" in out
    assert "red and green, seed 0, 7 images: agree on 57.1 %; right alone: 3 and 0" in out
    (folder,) = pytester.path.glob("results/*/channels/quick/galleries")
    written = sorted(path.name for path in folder.iterdir())
    assert [name.rpartition("-r")[2] for name in written if name.endswith("png")] == [
        "ed_better-s0.png"
    ]
    (page,) = folder.glob("*.html")
    assert f"galleries: {page.relative_to(pytester.path)}" in out
    assert "None of them is among the pictures" in page.read_text()
