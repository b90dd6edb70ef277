"""Measure the time of a training step with this package and with its alternatives."""
