"""DINO: self-distillation with no labels."""
