"""A run as a folder: its settings, its metrics, its model, and a checkpoint to resume
from.
"""
