"""Transforms of training images: augmentation, mixtures, crops."""
