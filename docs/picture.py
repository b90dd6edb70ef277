"""Draw docs/seven.png and docs/readme.png, the pictures of the README.

Run it by `python docs/picture.py RUN`.

On the left are a parity check of 1000 steps on the libraries that are installed and the
notebook's own loop. On the right is the drawn digit, and what the network of the run
RUN says about it.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mlp_xp import TrainConfig, load_dataset, open_backend, predict
from mlp_xp.parity.compare import Comparison, check
from mlp_xp.show.plots import COLOUR_OF, COLOURS, new_figure, save, tidy

STEPS = 1000
LINES = [
    [(58, 62), (96, 54), (143, 56)],
    [(143, 56), (126, 98), (108, 132), (99, 168)],
    [(84, 112), (146, 106)],
]

here = Path(__file__).parent
large = Image.new("L", (800, 800), 255)
for line in LINES:
    points = [(4 * x, 4 * y) for x, y in line]
    ImageDraw.Draw(large).line(points, fill=0, width=52, joint="curve")
    for x, y in (points[0], points[-1]):
        ImageDraw.Draw(large).ellipse((x - 26, y - 26, x + 26, y + 26), fill=0)
drawn = large.resize((200, 200))
drawn.save(here / "seven.png")
found = predict(sys.argv[1], [here / "seven.png"])

config, data = TrainConfig(), load_dataset()
backends = [open_backend(name) for name in ("jax", "torch", "array-api-strict")]
runs = check(config, data, backends, STEPS, with_notebook=True)
reference, *results = [each for each in runs if isinstance(each, Comparison)]

figure = new_figure(9, 3.3)
left, middle, right = figure.subplots(1, 3, width_ratios=(4.6, 1.9, 2))
*steps, _ = edges = np.unique(
    np.geomspace(1, len(reference.allowed) + 1, 60).astype(int)
)
left.loglog(
    steps,
    reference.allowed[edges[:-1] - 1],
    "--",
    color=COLOUR_OF["bound"],
    label="tolerance, derived from eps",
)
for colour, result in zip(COLOURS, results, strict=False):
    name = result.trajectory.backend.name
    largest = np.maximum(np.maximum.reduceat(result.deviations, edges[:-1] - 1), 1e-17)
    left.loglog(
        steps,
        largest,
        color=COLOUR_OF.get(name, colour),
        linewidth=1.4,
        label=name,
    )
left.set(
    title="The loss of each step: deviation from NumPy",
    xlabel="step (0 is drawn at the lower edge)",
    ylabel="relative deviation",
)
left.set_ylim(1e-17, 1e-10)
left.legend(frameon=False, fontsize=9, ncols=2, loc="upper left")
middle.imshow(drawn, cmap="gray")
middle.set(title="A drawn digit ...", xticks=[], yticks=[])
names, shares = found.models[0].class_names, 100 * found.outputs[0]
right.barh(names, shares, color=COLOUR_OF["test"])
right.invert_yaxis()
right.set(title=f"... is a {found.values[0]}", xlabel="%", xlim=(0, 100))
for axes in (left, right):
    tidy(axes)
save(figure, here / "readme.png")
