"""Helpers that know nothing of models or records: files, locks, the terminal."""
