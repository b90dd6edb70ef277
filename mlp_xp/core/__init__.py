"""The network, its training step and its training runs.

docs/how_it_is_built.md gives the order in which to read these files.
"""
