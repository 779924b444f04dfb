"""Checks of parts of one's own: one line tests what every part of a kind promises.

def test_rows_is_a_position_embedding():
    check_posemb("rows")

A check takes a registered name, or the class or function itself, and holds it against every law of
its kind. Draws come from seeded generators, so that a check has the same answer every time and
needs nothing that vitbench itself does not need. Every check takes

known_failures: laws that the part breaks on purpose, each with the reason, as
    `{"tells_places_apart": "the control has no positions"}`
seed: of initial values, inputs and draws, where there are any
raises: one AssertionError that names the part and, of each law that does not hold, what was given
    and what was expected; also for a known failure that holds. InputError for an unknown name
"""

from __future__ import annotations

from vitbench.testing.augmentation_laws import check_augmentation, check_mix
from vitbench.testing.dataset_laws import check_dataset
from vitbench.testing.initializer_laws import check_initializer
from vitbench.testing.map_laws import check_map
from vitbench.testing.model_laws import check_model
from vitbench.testing.optimizer_laws import check_optimizer
from vitbench.testing.posemb_laws import check_posemb
from vitbench.testing.schedule_laws import check_schedule

__all__ = [
    "check_augmentation",
    "check_dataset",
    "check_initializer",
    "check_map",
    "check_mix",
    "check_model",
    "check_optimizer",
    "check_posemb",
    "check_schedule",
]
