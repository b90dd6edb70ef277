"""Time a training step of this package and of what people would use instead."""
