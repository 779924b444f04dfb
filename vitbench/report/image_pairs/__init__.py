"""Two classifiers compared image by image: a page and pictures in `galleries/`, beside the records.

What models attend to is drawn by `vitbench.attention_gallery`.
"""
