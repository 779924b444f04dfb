"""Pretrained models of other libraries: their weights, sizes and preprocessing."""
