"""Laws of zero-shot classification."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from clips import tiny_clip
from hypothesis import given
from hypothesis import strategies as st

from vitbench.config.classify import TEMPLATE_SETS
from vitbench.errors import InputError
from vitbench.models.pretrained.description import ForeignModel, TextTower
from vitbench.models.pretrained.zero_shot import ZeroShot, class_embeddings, templates

pytest.importorskip("open_clip")

NAMES = ["ring", "triangle", "plus marks"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> ForeignModel:
    """A CLIP model with random weights."""
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@given(name=st.sampled_from(TEMPLATE_SETS))
def test_every_template_speaks_of_the_class_once(name):
    """A set has different sentences, each with the class in it."""
    sentences = [template("zyzzyva") for template in templates(name)]
    assert all(sentence.count("zyzzyva") == 1 for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize(
    ("name", "count"), [("openai80", 80), ("openai7", 7), ("cifar18", 18), ("plain", 1)]
)
def test_sets_have_the_published_sizes(name, count):
    """80 and 7 for ImageNet, 18 for CIFAR."""
    assert len(templates(name)) == count


def test_a_sentence_is_a_template_of_its_own():
    """What holds {} is the template itself."""
    assert [template("ring") for template in templates("my {} here")] == ["my ring here"]


def test_an_unknown_set_is_refused_with_the_nearest():
    """The message names the set that was meant."""
    with pytest.raises(InputError, match=r"'openai8'; did you mean 'openai80'\?"):
        templates("openai8")


def test_embeddings_are_those_of_open_clip(clip, tmp_path):
    """Normalised, averaged, normalised: as open_clip builds its zero-shot classifier."""
    build = pytest.importorskip("open_clip").build_zero_shot_classifier
    asked = templates("openai7")
    ours = class_embeddings(clip, NAMES, asked=asked, cache=tmp_path)
    theirs = build(clip.text.clip, clip.text.tokenize, NAMES, asked)
    torch.testing.assert_close(ours, theirs.T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(3))


class Counting:
    """A tokenizer that counts how many texts it was given."""

    def __init__(self, tokenize) -> None:
        self.tokenize, self.texts = tokenize, 0

    def __call__(self, texts):
        self.texts += len(texts)
        return self.tokenize(texts)


def counted(clip: ForeignModel) -> tuple[ForeignModel, list[int]]:
    """The model, and a list that grows by what its text tower encodes."""
    encoded: list[int] = []

    class Tower(TextTower):
        def encode(self, texts):
            encoded.append(len(texts))
            return super().encode(texts)

    tower = Tower(clip=clip.text.clip, tokenize=clip.text.tokenize)
    return dataclasses.replace(clip, text=tower), encoded


def test_embeddings_are_computed_once(clip, tmp_path):
    """The second time they are read: the same numbers, and nothing is encoded."""
    model, encoded = counted(clip)
    first = class_embeddings(model, NAMES, asked=templates("plain"), cache=tmp_path)
    assert sum(encoded) == 3
    again = class_embeddings(model, NAMES, asked=templates("plain"), cache=tmp_path)
    assert sum(encoded) == 3
    assert torch.equal(first, again)


def test_other_classes_templates_or_weights_are_computed_anew(clip, tmp_path):
    """The cache goes by content: nothing is served for what it is not of."""
    model, encoded = counted(clip)
    plain = templates("plain")
    class_embeddings(model, NAMES, asked=plain, cache=tmp_path)
    class_embeddings(model, NAMES[:2], asked=plain, cache=tmp_path)
    class_embeddings(model, NAMES, asked=templates("a {}"), cache=tmp_path)
    assert sum(encoded) == 3 + 2 + 3
    weight = model.text.clip.text_projection
    with torch.no_grad():
        weight[0, 0] += 1
    changed = class_embeddings(model, NAMES, asked=plain, cache=tmp_path)
    with torch.no_grad():
        weight[0, 0] -= 1
    assert sum(encoded) == 3 + 2 + 3 + 3
    assert not torch.equal(changed, class_embeddings(model, NAMES, asked=plain, cache=tmp_path))


def test_the_image_tower_does_not_count(clip, tmp_path):
    """Weights that the embeddings do not depend on leave them valid."""
    model, encoded = counted(clip)
    class_embeddings(model, NAMES, asked=templates("plain"), cache=tmp_path)
    with torch.no_grad():
        model.image.proj[0, 0] += 1
    class_embeddings(model, NAMES, asked=templates("plain"), cache=tmp_path)
    with torch.no_grad():
        model.image.proj[0, 0] -= 1
    assert sum(encoded) == 3


def test_a_damaged_cache_is_made_anew(clip, tmp_path):
    """A file that cannot be read is as none."""
    first = class_embeddings(clip, NAMES, asked=templates("plain"), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"torn")
    again = class_embeddings(clip, NAMES, asked=templates("plain"), cache=tmp_path)
    assert torch.equal(first, again)
    assert len(file.read_bytes()) > 4


def test_logits_are_scaled_cosines(clip, tmp_path):
    """They are those of open_clip's own forward pass, when a class is one prompt."""
    classes = class_embeddings(clip, NAMES, asked=templates("plain"), cache=tmp_path)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = ZeroShot(clip, classes)(images)
        texts = clip.text.tokenize([f"a photo of a {name}." for name in NAMES])
        theirs = clip.text.clip.get_logits(images, texts)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
