"""Runs as folders of settings, metrics, a model and a checkpoint to resume from."""
