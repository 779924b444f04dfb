"""The sections of a case: one frozen, self-validating dataclass per file."""
