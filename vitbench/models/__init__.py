"""Models, written in readable blocks.

Axes: `b` image in batch, `c` channel, `h w` pixel rows and columns, `gh gw` patch grid,
`ph pw` patch, `n` tokens, `d` width, `k` head, `l` layer.
"""
