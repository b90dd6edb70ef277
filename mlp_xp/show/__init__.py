"""What a person sees of a run: terminal output, progress, plots."""
