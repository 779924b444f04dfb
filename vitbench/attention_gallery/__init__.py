"""Galleries: pictures of what a model attends to, as PNG, as SVG, and on one HTML page."""
