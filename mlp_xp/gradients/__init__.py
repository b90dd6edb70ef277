"""A check of backpropagation written in plain NumPy.

`check_gradients` compares it with central differences and with this package's layers.
"""
