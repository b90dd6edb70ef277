"""The commands by their names."""

COMMANDS = {
    "train": "Train a network with hand-written backpropagation, on any library.",
    "sweep": "Train a network for every combination of settings, several at once.",
    "evaluate": "Evaluate the network of a run, or an ensemble, on the test set.",
    "predict": "Predict from pictures or from the rows of a table.",
    "export": "Write the network of a run, or an ensemble, to an ONNX file.",
    "plot": "Draw the pictures of a run or a sweep, or the curves of several runs.",
    "page": "Write a web page with the network of a run, to draw in or move sliders.",
    "runs": "Compare runs in a table, or their settings over all seeds.",
    "parity": "Train on several array libraries, and compare each step with NumPy.",
    "completion": "Print a script that completes commands and options in a shell.",
}
"""Each command, with its line in the help."""
