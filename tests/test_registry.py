"""Registries: names without imports, entries on demand, one entry per name."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from vitbench.errors import InputError
from vitbench.registry import AUGMENTATIONS, DATASETS, MODELS, POSEMBS, Registry, _declared

PARTS = """
from registry_of_parts import OTHERS, PARTS

@OTHERS.register("elsewhere")
class Elsewhere: ...

@PARTS.register("one")
class One: ...

@PARTS.register("two")
def two(): ...
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A registry of which a module on the path registers the entries `one` and `two`."""
    (tmp_path / "parts_of_registry.py").write_text(PARTS)
    (tmp_path / "registry_of_parts.py").write_text(
        "from vitbench.registry import Registry\n"
        'PARTS = Registry("part", variable="PARTS", module="parts_of_registry")\n'
        'OTHERS = Registry("other", variable="OTHERS", module="parts_of_registry")\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("registry_of_parts").PARTS
    for name in ("registry_of_parts", "parts_of_registry"):
        sys.modules.pop(name, None)


def test_names_are_known_before_the_module_is_imported(parts):
    """Names are read from the text of the module, those of this registry only."""
    assert parts.names() == ("one", "two")
    assert "parts_of_registry" not in sys.modules


def test_an_entry_imports_the_module(parts):
    """Asking for an entry runs the module, after which the names are the same."""
    assert parts["one"].__name__ == "One"
    assert parts["two"].__name__ == "two"
    assert parts.names() == ("one", "two")


def test_an_own_entry_comes_last_and_is_found(parts):
    """A user's entry stands behind vitbench's own, before and after the import."""

    @parts.register("mine")
    class Mine: ...

    assert parts.names() == ("one", "two", "mine")
    assert parts["mine"] is Mine
    assert parts["one"].__name__ == "One"
    assert set(parts.names()) == {"one", "two", "mine"}


@pytest.mark.parametrize("imported", [False, True])
def test_a_taken_name_is_refused(parts, imported):
    """Also when the entry that has the name is not imported yet."""
    if imported:
        assert parts["one"]
    with pytest.raises(InputError, match=r"^part 'one' is registered twice$"):
        parts.register("one")(object)


def test_an_unknown_name_suggests_a_near_one(parts):
    """Checking imports nothing; looking up says the same."""
    with pytest.raises(
        InputError, match=r"^unknown part 'on'; did you mean 'one'\? known: one, two$"
    ):
        parts.check("on")
    assert "parts_of_registry" not in sys.modules
    with pytest.raises(InputError, match=r"^unknown part 'on'; did you mean 'one'\?"):
        parts["on"]


def test_the_decorated_thing_is_unchanged():
    """`register` returns what it decorates."""
    registry = Registry("part", variable="PARTS", module="vitbench.errors")
    assert registry.register("int")(int) is int


def test_naming_parts_imports_no_torch():
    """A case with every registered name is made without torch: collecting a study is quick."""
    program = (
        "import sys\n"
        "from vitbench.config.case import Case\n"
        "from vitbench.registry import AUGMENTATIONS, DATASETS, MODELS, POSEMBS\n"
        "named = {'model.name': MODELS, 'model.posemb': POSEMBS,\n"
        "         'data.dataset': DATASETS, 'data.augment': AUGMENTATIONS}\n"
        "for path, registry in named.items():\n"
        "    for name in registry.names():\n"
        "        Case().replace({path: name})\n"
        "Case().check_shapes()\n"
        "assert Case().chance_accuracy == 10\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "registry", [AUGMENTATIONS, DATASETS, MODELS, POSEMBS], ids=lambda registry: registry.kind
)
def test_declared_names_are_the_registered_ones(registry):
    """What the text of a module declares is what importing it registers."""
    declared = _declared(registry.module, registry._variable)
    importlib.import_module(registry.module)
    own = [name for name in registry.names() if registry[name].__module__ == registry.module]
    assert declared
    assert tuple(own) == declared
