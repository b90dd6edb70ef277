"""Data sets: files, folders and downloads to a `Dataset`; pictures prepared as MNIST's were."""
