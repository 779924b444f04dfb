"""The plugin is loaded by its entry point; this file marks the root and stays empty."""
