"""Laws of trained models in files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from vits import Shape, enliven, shape, shapes

from vitbench import InputError, load_model
from vitbench.config.case import Case
from vitbench.data.loader import Normalization
from vitbench.models.checkpoint import FILE, SCHEMA, Checkpoint, write_checkpoint
from vitbench.models.vit import build


def checkpoint_of(given: Shape, seed: int = 0) -> Checkpoint:
    """A model whose weights are those of no seed."""
    model = build(given.config, **given.facts(), seed=seed)
    enliven(model)
    return Checkpoint(
        model=model,
        case=Case(model=given.config, seed=seed),
        image_px=given.image_px,
        normalization=Normalization(
            mean=tuple(0.1 + i / 7 for i in range(given.channels)), std=(0.3,) * given.channels
        ),
        class_names=tuple(f"class {i}" for i in range(given.num_classes)),
    )


@given(shapes(), st.integers(0, 3))
def test_what_is_read_is_what_was_written(drawn, seed):
    """Whatever the model: the same logits, and all that it takes to use it."""
    written = checkpoint_of(drawn, seed)
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder) / FILE, written)
        read = load_model(folder)
    images = drawn.images().float()
    assert not read.model.training
    assert torch.equal(read.model(images), written.model.eval()(images))
    for name in ("case", "image_px", "normalization", "class_names"):
        assert getattr(read, name) == getattr(written, name)


def test_a_model_is_written_twice_alike(tmp_path):
    """The same model gives the same bytes."""
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, checkpoint_of(shape()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_that_are_shared_are_written(tmp_path):
    """Two names of one tensor are no hindrance."""
    written = checkpoint_of(shape())
    written.model.blocks[1].mlp.fc1.weight = written.model.blocks[0].mlp.fc1.weight
    write_checkpoint(tmp_path / FILE, written)
    images = shape().images().float()
    assert torch.equal(load_model(tmp_path).model(images), written.model.eval()(images))


def rewritten(path: Path, **changes: object) -> None:
    """Change what stands in the file beside the weights."""
    written = checkpoint_of(shape())
    about = {
        "schema": SCHEMA,
        "case": written.case.to_json(),
        "image_px": written.image_px,
        "mean": written.normalization.mean,
        "std": written.normalization.std,
        "class_names": written.class_names,
        **changes,
    }
    save_file(written.model.state_dict(), path, {"vitbench": json.dumps(about)})


def of_case(**changes: object) -> dict[str, object]:
    """A case as JSON, with fields of its model changed."""
    case = Case(model=shape().config).to_json()
    case["model"].update(changes)
    return case


MISTAKES = {
    "missing": (lambda path: None, "cannot read"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged, or not safetensors"),
    "text": (lambda path: path.write_text("weights" * 99), "is damaged, or not safetensors"),
    "foreign": (
        lambda path: save_file({"a": torch.zeros(2)}, path),
        "has weights alone; expected a file that vitbench train wrote",
    ),
    "no JSON": (
        lambda path: save_file({}, path, {"vitbench": "{"}),
        "is damaged: ",
    ),
    "newer schema": (
        lambda path: rewritten(path, schema="vitbench.models.checkpoint/2"),
        "schema vitbench.models.checkpoint/2; this vitbench reads vitbench.checkpoint/1",
    ),
    "less": (lambda path: rewritten(path, class_names=None), "is damaged: "),
    "another width": (
        lambda path: rewritten(path, case=of_case(width=16)),
        "the weights do not fit the model: blocks.0.attention.proj.bias is (8,), expected (16,); ",
    ),
    "deeper": (
        lambda path: rewritten(path, case=of_case(depth=3)),
        "blocks.2.attention.proj.bias is missing, expected (8,)",
    ),
    "unknown model": (
        lambda path: rewritten(path, case=of_case(name="vti")),
        "did you mean 'vit'?",
    ),
    **{
        f"image of {sides}": (lambda path, sides=sides: rewritten(path, image_px=sides), message)
        for sides, message in (
            ((0, 4), "is damaged: Expected `int` >= 1 - at `$.image_px[0]`"),
            ((10**7, 4), "is damaged: Expected `int` <= 1048576 - at `$.image_px[0]`"),
            ((10**4, 10**4), "have 25,000,000 patches of 2 px; expected at most 65,536"),
            ("64", "is damaged: Expected `array`, got `str` - at `$.image_px`"),
        )
    },
    **{
        f"mean of {mean}": (lambda path, mean=mean: rewritten(path, mean=mean), message)
        for mean, message in (
            (("a", "b", "c"), "is damaged: Expected `float`, got `str` - at `$.mean[0]`"),
            ((), "expected a finite number of each for every channel"),
            ((0.5,), "expected a finite number of each for every channel"),
            ((float("nan"),) * 3, "is damaged: JSON is malformed"),
        )
    },
    "std of 0": (lambda path: rewritten(path, std=(0.0, 0.3, 0.3)), "and std above 0"),
    "no classes": (lambda path: rewritten(path, class_names=()), "array` of length >= 1"),
    "classes in a word": (lambda path: rewritten(path, class_names="abc"), "got `str`"),
    "a million classes": (
        lambda path: rewritten(path, class_names=["a"] * 10**6),
        "head.bias is (5,), expected (1000000,)",
    ),
    "deep nesting": (
        lambda path: save_file({}, path, {"vitbench": "[" * 10**5 + "]" * 10**5}),
        "is damaged: ",
    ),
    "deep nesting inside": (
        lambda path: save_file(
            {}, path, {"vitbench": f'{{"schema": "{SCHEMA}", "case": {"[" * 10**5}'}
        ),
        "is damaged: ",
    ),
    "a list": (lambda path: save_file({}, path, {"vitbench": "[]"}), "Expected `object`"),
    "a case in a list": (lambda path: rewritten(path, case=[]), "Expected `object`, got `array`"),
    **{
        f"{name} of {value:g}": (
            lambda path, name=name, value=value: rewritten(path, case=of_case(**{name: value})),
            f"model.{name} is {value}; expected at most",
        )
        for name, value in (
            ("depth", 10**9),
            ("width", 10**9),
            ("patch", 10**9),
            ("registers", 10**9),
            ("head_width", 10**9),
            ("mlp_ratio", 1e12),
        )
    },
    "as wide as can be": (
        lambda path: rewritten(path, case=of_case(width=2**16, head_width=2**16, registers=2**16)),
        "the weights do not fit the model: ",
    ),
    "newer": (lambda path: rewritten(path, case=of_case(gate=1)), "unknown setting 'model.gate'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, mistake):
    """It names the file and what is wrong with it."""
    path = tmp_path / FILE
    make, message = MISTAKES[mistake]
    make(path)
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@given(st.data())
def test_weights_that_are_not_finite_are_refused(tmp_path_factory, data):
    """Whichever tensor it is, it is named."""
    path = tmp_path_factory.mktemp("nan") / FILE
    written = checkpoint_of(shape())
    names = [name for name, tensor in written.model.state_dict().items() if tensor.numel()]
    name = data.draw(st.sampled_from(names))
    value = data.draw(st.sampled_from([float("nan"), float("inf"), float("-inf")]))
    with torch.no_grad():
        written.model.get_parameter(name).view(-1)[-1] = value
    write_checkpoint(path, written)
    with pytest.raises(InputError) as told:
        load_model(path)
    assert str(told.value).startswith(f"{path}: {name} is not finite: 1 of its ")


def test_a_file_that_ends_too_early_is_damaged(tmp_path):
    """Cut anywhere, it is refused in one line."""
    path = tmp_path / FILE
    write_checkpoint(path, checkpoint_of(shape()))
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match="is damaged"):
            load_model(path)
