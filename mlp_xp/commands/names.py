"""The commands by their names."""

COMMANDS = {
    "train": "Train a network with hand-written backpropagation, on any array library.",
    "sweep": "Train a network for every combination of settings, several at once.",
    "evaluate": "Evaluate a run's network, or an ensemble of several, on the test set.",
    "predict": "Predict classes, labels or numbers from pictures, or from the rows of a table.",
    "export": "Write a run's network, or an ensemble of several, to an ONNX file, which other programs read.",
    "plot": "Draw the pictures of a run or a sweep, or the curves of several runs.",
    "page": "Write a web page to draw in, or to move sliders, with the network of a run.",
    "runs": "Compare runs in a table, or their settings over all seeds.",
    "parity": "Train on several array libraries, and compare each, step by step, with NumPy.",
    "lockstep": "Run any array program on array libraries, and each operation on NumPy too.",
    "completion": "Print a script with which a shell completes commands, options and paths.",
}
"""Each command, with its line in the help."""
