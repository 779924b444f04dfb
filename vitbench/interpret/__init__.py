"""What a vision transformer attends to: maps, where they come from, and scores of them.

`tokens` names the tokens; `rollout`, `attribution`, `locality`, `masks`, `positions`, `norms` and
`signed` compute on tensors alone. `encoders` opens a model, `capture` runs it and keeps its
attention, `methods` turns what was kept into one map an image, and `scores` and `occlusion` judge
maps.

Axes are those of `vitbench.models`; `p` is a patch, gh·gw of them, row after row.
"""
