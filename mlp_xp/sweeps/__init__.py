"""Train many runs as one sweep, and summarise and draw their results."""
