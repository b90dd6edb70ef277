"""Load a `Dataset` from files, folders and downloads, and prepare pictures as MNIST's
were prepared.
"""
