"""Training and evaluation of a classifier."""
