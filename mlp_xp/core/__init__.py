"""The network, its training step, its loop and its run; read in the order that the
README gives.
"""
