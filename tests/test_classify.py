"""Laws of testing a classifier that exists."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import TINY
from PIL import Image
from torch import nn
from torchvision.models import squeezenet1_1

from vitbench.config.case import Case
from vitbench.config.classify import ClassifyConfig, parse_classifier
from vitbench.data.image_folder import DataWarning
from vitbench.device import randomness
from vitbench.errors import InputError
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.preprocessing import Preprocessing
from vitbench.registry import CLASSIFIERS
from vitbench.tasks import classify
from vitbench.tasks.outcome import Conditions, Outcome
from vitbench.training import small_classifiers

COLOURS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}
SYNSETS = ("n01440764", "n01443537", "n02123045")


class Brightest(nn.Module):
    """Says which channel is the brightest, with `outputs` classes of which the last are never it."""

    def __init__(self, order: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.order, self.outputs = order, outputs
        self.none = nn.Parameter(torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        channels = images.mean(dim=(2, 3))[:, list(self.order)]
        return torch.cat([channels, self.none.expand(len(images), self.outputs - 3) - 9], dim=1)


@CLASSIFIERS.register("brightest")
def brightest(name: str, *, weights, request) -> ForeignModel:
    """Blue, green, red, as the folders are sorted; `brightest:N` has N outputs."""
    return ForeignModel(
        name=f"brightest:{name}",
        image=Brightest((2, 1, 0), int(name)),
        kind="classifier",
        outputs=int(name),
        preprocessing=Preprocessing(
            resize_px=8, crop_px=(8, 8), interpolation="bilinear", mean=(0.5,) * 3, std=(0.1,) * 3
        ),
        weights=weights,
    )


def photos(root: Path, names: tuple[str, ...] = tuple(COLOURS), count: int = 3) -> Path:
    """Write photos of one colour, a folder for each."""
    for name, colour in zip(names, COLOURS.values(), strict=True):
        (root / name).mkdir(parents=True)
        for place in range(count):
            Image.new("RGB", (12 + place, 9), colour).save(root / name / f"{place}.png")
    return root


def case_of(model: str, folder: Path | None = None, **settings) -> Case:
    """A case of one classifier, on photos or on the embedded images."""
    data = {} if folder is None else {"data.dataset": f"imagefolder:{folder}"}
    return Case.of(
        settings={
            "classify.model": model,
            "compute.device": "cpu",
            "compute.precision": "fp32",
            **data,
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
    )


def performed(case: Case, data_dir: Path | None = None, *, alone: bool = True) -> Outcome:
    """What the case gave."""
    outcome = Outcome()
    classify.perform(case, outcome, conditions=Conditions(data_dir=data_dir, alone=alone))
    return outcome


def refusal(case: Case, data_dir: Path | None = None) -> str:
    """The one line that says why it cannot be tested."""
    with pytest.raises(InputError) as refused:
        performed(case, data_dir)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# what is answered ---------------------------------------------------------------------------


def test_a_perfect_classifier_is_perfect(tmp_path):
    """Every image is answered for, once, in order, and every number says so."""
    outcome = performed(case_of("brightest:3", photos(tmp_path / "p"), classify__batch_size=4))
    values = {name: metric.value for name, metric in outcome.metrics.items()}
    assert values["test_accuracy"] == values["top5_accuracy"] == 100
    assert values["test_images"] == 9
    assert values["unreadable_images"] == 0
    said = outcome.predictions
    assert said.predicted.tolist() == said.target.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert said.names.tolist()[:4] == ["blue/0.png", "blue/1.png", "blue/2.png", "green/0.png"]
    np.testing.assert_allclose(said.top_confidence.sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(said.top_confidence, axis=1) <= 0).all()
    assert (said.top[:, 0] == said.predicted).all()
    assert outcome.diagnostics["class_images"] == [3, 3, 3]


def test_outputs_of_imagenet_are_found_by_the_folders_numbers(tmp_path):
    """Of 1000 outputs those of the folders are asked, wherever they are among the thousand."""
    pytest.importorskip("timm")
    folder = photos(tmp_path / "p", names=SYNSETS)
    places = [0, 1, 281]  # tench, goldfish, tabby
    request = classify.Request(
        case=case_of("brightest:1000", folder),
        conditions=Conditions(),
        class_names=SYNSETS,
        curves=None,
    )
    model = dataclasses.replace(brightest("1000", weights=None, request=request))
    assert classify.columns(model, request) == places


def test_pictures_are_kept_small_with_the_names_of_classes(tmp_path):
    """What a gallery shows lies beside the predictions, by the row of its image."""
    pictures = performed(case_of("brightest:3", photos(tmp_path / "p"))).predictions.pictures
    assert pictures.class_names == tuple(COLOURS)
    assert pictures.index.tolist() == list(range(9))
    assert pictures.images.shape == (9, 9, 9, 3)
    assert pictures.images[3, 4, 4].tolist() == list(COLOURS["green"])


def test_a_broken_image_is_named_counted_and_left_out(tmp_path):
    """The rest is answered for, and the metric says how many are missing."""
    folder = photos(tmp_path / "p")
    (folder / "green" / "1.png").write_bytes(b"torn")
    with pytest.warns(DataWarning, match=r"1 of 9 images .* green/1\.png \(no image\)"):
        outcome = performed(case_of("brightest:3", folder))
    assert outcome.metrics["unreadable_images"].value == 1
    assert outcome.metrics["test_images"].value == 8
    assert "green/1.png" not in outcome.predictions.names
    assert outcome.metrics["test_accuracy"].value == 100


def test_beside_other_work_no_speed_is_told(tmp_path):
    """The metric is there, with the reason."""
    outcome = performed(case_of("brightest:3", photos(tmp_path / "p")), alone=False)
    assert outcome.metrics["images_per_second"].value is None
    assert "other cases" in outcome.metrics["images_per_second"].reason


def test_the_record_says_what_was_run(tmp_path):
    """Classifier, kind and parts, with their costs."""
    about = performed(case_of("brightest:3", photos(tmp_path / "p"))).about
    assert about["classifier"] == "brightest:3"
    assert about["kind"] == "supervised"
    assert about["parts"][-1]["parameters"] == 1


# what is refused ----------------------------------------------------------------------------


def test_classes_of_imagenet_are_not_those_of_other_images(tmp_path):
    """A line that says what both tell apart, and what to do."""
    folder = photos(tmp_path / "p")
    message = refusal(case_of("brightest:1000", folder))
    assert "brightest:1000 tells 1,000 classes of ImageNet-1k apart" in message
    assert "has 3 classes (blue, green, red); expected" in message
    assert "open_clip:RN50@openai" in message


def saved(path: Path, classes: int) -> Path:
    """Weights of a small model of torchvision, for so many classes."""
    with randomness(0, "test"):
        torch.save(squeezenet1_1(num_classes=classes).state_dict(), path)
    return path


def test_weights_for_the_images_own_classes_are_taken(tmp_path):
    """A file for as many classes as there are folders is a classifier of those."""
    folder, file = photos(tmp_path / "p", count=1), saved(tmp_path / "three.pt", 3)
    outcome = performed(case_of(f"torchvision:squeezenet1_1@{file}", folder))
    assert outcome.predictions.top.shape == (3, 3)


def test_fewer_classes_than_labels_are_refused(tmp_path):
    """A line that says how many there are of each."""
    folder, file = photos(tmp_path / "p", count=1), saved(tmp_path / "two.pt", 2)
    message = refusal(case_of(f"torchvision:squeezenet1_1@{file}", folder))
    assert "two.pt tells 2 classes apart" in message
    assert "has 3 classes (blue, green, red); expected weights for 3 classes" in message


def test_weights_of_another_model_are_refused_as_such(tmp_path):
    """They are not taken for a matter of classes."""
    folder, file = photos(tmp_path / "p", count=1), tmp_path / "other.pt"
    torch.save(nn.Linear(2, 3).state_dict(), file)
    assert "the weights do not fit the model" in refusal(
        case_of(f"torchvision:squeezenet1_1@{file}", folder)
    )


@pytest.mark.parametrize("source", ["open_clip:RN50", "timm:resnet18", "torchvision:resnet18"])
def test_a_model_without_weights_is_refused(source, tmp_path):
    """Its answers would be chance."""
    message = refusal(case_of(source, photos(tmp_path / "p")))
    assert f"{source} has no weights" in message
    assert f"{source}@FILE" in message


def test_an_empty_folder_is_refused(tmp_path):
    """A folder without folders of images is no dataset."""
    message = refusal(case_of("brightest:3", tmp_path))
    assert "has 0 folders; expected one per class" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("torchvison:resnet50", "unknown source of classifiers 'torchvison'; did you mean"),
        ("timm:", "expected SOURCE:NAME"),
        ("timm:resnet50@", "expected SOURCE:NAME"),
    ],
)
def test_a_classifier_that_cannot_be_named_is_refused(text, message):
    """The form of a name is checked before anything is built."""
    with pytest.raises(InputError, match=message):
        ClassifyConfig(model=text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("timm:resnet50", ("timm", "resnet50", None)),
        ("timm:resnet50@a1_in1k", ("timm", "resnet50", "a1_in1k")),
        ("open_clip:RN50@w/f@1.pt", ("open_clip", "RN50", "w/f@1.pt")),
    ],
)
def test_names_are_taken_apart(text, parts):
    """Source, name and weights."""
    assert parse_classifier(text, setting="classify.model") == parts


# the embedded classifiers -------------------------------------------------------------------

SMALL = {
    "classify__epochs": 2,
    "data__train_images": 120,
    "data__test_images": 40,
    "train__batch_size": 40,
}


@pytest.mark.parametrize("name", ["clip", "resnet"])
def test_embedded_classifiers_are_trained_once(name, tmp_path, monkeypatch):
    """The second time they are read from their checkpoint, and say the same bit for bit."""
    pytest.importorskip("open_clip")
    case = case_of(f"embedded:{name}", **SMALL)
    first = performed(case, tmp_path)
    assert len(first.curves.train_loss) == 2 * 3

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(small_classifiers, "train_contrastive", never)
    monkeypatch.setattr(small_classifiers, "train", never)
    again = performed(case, tmp_path)
    assert again.curves.train_loss == first.curves.train_loss
    for field in ("predicted", "top", "top_confidence"):
        assert np.array_equal(getattr(first.predictions, field), getattr(again.predictions, field))
    with pytest.raises(AssertionError, match="trained again"):
        performed(dataclasses.replace(case, seed=1), tmp_path)


def test_the_embedded_clip_is_a_checkpoint_of_open_clip(tmp_path):
    """open_clip itself loads the folder that was written, and gives the same features."""
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import load_file

    outcome = performed(case_of("embedded:clip", **SMALL), tmp_path)
    (folder,) = (tmp_path / "made").glob("clip-*")
    theirs, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    ours = small_classifiers.read_clip(folder)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.image(images), theirs.eval().encode_image(images))
    assert load_file(folder / "open_clip_model.safetensors").keys() == theirs.state_dict().keys()
    assert outcome.about["kind"] == "zero-shot"
    assert outcome.about["answers"].endswith("from text; prompts: unseen")


def test_an_unknown_embedded_classifier_is_refused(tmp_path):
    """The message names the two that there are."""
    assert "known: clip, resnet" in refusal(case_of("embedded:vit", **SMALL), tmp_path)


def test_a_clip_model_needs_no_classes_of_its_own(tmp_path):
    """A CLIP with random weights answers for whatever the folders are called."""
    open_clip = pytest.importorskip("open_clip")
    import json

    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    with randomness(0, "test"):
        state = open_clip.CLIP(**TINY).state_dict()
    torch.save(state, tmp_path / "tiny.pt")
    name = f"open_clip:{tmp_path}/tiny.json@{tmp_path}/tiny.pt"
    folder = photos(tmp_path / "p", count=1)
    outcome = performed(case_of(name, folder, classify__templates="a {}"), tmp_path / "data")
    assert outcome.predictions.top.shape == (3, 3)
    assert len(list((tmp_path / "data" / "made" / "classes").iterdir())) == 1
