"""Compare the estimator's fit with scikit-learn's on MNIST: `python scripts/bench_estimator.py` on an idle machine.

Each fit has scikit-learn's defaults and one thread, and runs in a process of its own, in turn with the others. Two
loops in plain NumPy show what is possible with the same steps: one does all that a step needs, in place, and one only
its two large matrix products.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
XLA = "--xla_cpu_multi_thread_eigen=false"
LOOPS = ("in place", "products")
CONTESTANTS = ("scikit-learn", *LOOPS, "numpy", "jax")
BATCH, HIDDEN, CLASSES = 200, 100, 10


def measure(name: str, dtype: str, epochs: int) -> dict[str, Any]:
    """Fit once, in this process, and return processor and wall seconds, the number of epochs and the last loss."""
    import numpy as np

    from mlp_xp import load_dataset, open_backend

    data = load_dataset("mnist")
    X = (data.train_images.reshape(len(data.train_images), -1) / 255).astype(dtype)
    y = data.train_labels
    del data
    if name == "scikit-learn":
        from sklearn.neural_network import MLPClassifier
    else:
        from mlp_xp.estimator import MLPClassifier
    warnings.simplefilter("ignore")
    settings: dict[str, Any] = {"max_iter": epochs, "n_iter_no_change": epochs, "tol": 0} if epochs else {}
    if name not in ("scikit-learn", *LOOPS):
        settings["backend"] = open_backend(name, None, dtype).name  # without the time to import the library
    began, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if name in LOOPS:
        ended, loss = epochs, loop(X, np.asarray(y), epochs, only_products=name == "products")
    else:
        model: Any = MLPClassifier(random_state=0, **settings).fit(X, y)
        ended, loss = model.n_iter_, model.loss_
    wall, used = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - began.ru_utime - began.ru_stime
    return {"cpu": cpu, "wall": wall, "epochs": ended, "loss": loss}


def loop(X: Any, y: Any, epochs: int, *, only_products: bool) -> float:
    """Train as scikit-learn does by default, in plain NumPy with no array made in a step. Return the last loss."""
    import numpy as np

    samples, features = X.shape
    random = np.random.RandomState(0)
    shapes = [(features, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    bounds = [(6 / sum(shape)) ** 0.5 for shape in (shapes[0], shapes[0], shapes[2], shapes[2])]
    W = [random.uniform(-b, b, shape).astype(X.dtype) for b, shape in zip(bounds, shapes, strict=True)]
    G, M, V, T = ([np.zeros_like(w) for w in W] for _ in range(4))
    x, t, z, d, a = (np.empty((BATCH, n), X.dtype) for n in (features, CLASSES, CLASSES, HIDDEN, HIDDEN))
    one_hot, order = np.eye(CLASSES, dtype=X.dtype), np.arange(samples)
    beta_1, beta_2, epsilon, rate, alpha = 0.9, 0.999, 1e-8, 1e-3, 1e-4
    step, loss = 0, 0.0
    for _ in range(epochs):
        order, total = order[random.permutation(samples)], 0.0
        for rows in order.reshape(-1, BATCH):
            if only_products:
                np.matmul(x, W[0], out=a)
                np.matmul(x.T, d, out=G[0])
                continue
            step += 1
            np.take(X, rows, axis=0, out=x, mode="clip")
            np.take(one_hot, y[rows], axis=0, out=t, mode="clip")
            squares = W[0].ravel() @ W[0].ravel() + W[2].ravel() @ W[2].ravel()
            np.matmul(x, W[0], out=a)
            a += W[1]
            np.maximum(a, 0, out=a)
            np.matmul(a, W[2], out=z)
            z += W[3]
            z -= z.max(axis=1, keepdims=True)
            total -= (z * t).sum()
            np.exp(z, out=z)
            sums = z.sum(axis=1, keepdims=True)
            total += np.log(sums).sum() + 0.5 * alpha * squares
            z /= sums
            z -= t
            z *= (1 - beta_1) / BATCH
            np.matmul(z, W[2].T, out=d)
            d *= a > 0
            np.matmul(a.T, z, out=G[2])
            np.matmul(x.T, d, out=G[0])
            np.sum(z, axis=0, out=G[3])
            np.sum(d, axis=0, out=G[1])
            factor = rate * (1 - beta_2**step) ** 0.5 / (1 - beta_1**step)
            for w, g, m, v, temporary in zip(W, G, M, V, T, strict=True):
                if w.ndim == 2:
                    np.multiply(w, alpha / BATCH * (1 - beta_1), out=temporary)
                    g += temporary
                m *= beta_1
                m += g
                g *= g
                g *= (1 - beta_2) / (1 - beta_1) ** 2
                v *= beta_2
                v += g
                np.sqrt(v, out=temporary)
                temporary += epsilon
                np.divide(m, temporary, out=temporary)
                temporary *= factor
                w -= temporary
        loss = float(total) / samples
    return loss


def processes(names: list[str], dtype: str, epochs: int, rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure all contestants in turn, each time in a new process. The loops take as many epochs as scikit-learn."""
    environment = {**os.environ, **dict.fromkeys(VARIABLES, "1"), "XLA_FLAGS": XLA}
    last = epochs
    for _ in range(rounds):
        for name in names:
            given = str(last or 10 if name in LOOPS else epochs)
            command = [sys.executable, __file__, "--measure", name, "--dtype", dtype, "--epochs", given]
            run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            result = json.loads(run.stdout)
            if name == "scikit-learn":
                last = result["epochs"]
            yield name, result


def main() -> None:
    """Print each measurement, and at the end the least processor time of each, per epoch and to scikit-learn's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=CONTESTANTS, help=f"of {', '.join(CONTESTANTS)} (default: all)")
    parser.add_argument("--dtype", default="float64", choices=("float64", "float32"))
    parser.add_argument("--epochs", type=int, default=0, help="of each fit (default: as many as it takes)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.dtype, given.epochs)))
        return
    best: dict[str, dict[str, Any]] = {}
    for name, result in processes(given.names, given.dtype, given.epochs, given.rounds):
        print(name, *(f"{key} {value:.10g}" for key, value in result.items()), flush=True)
        best[name] = min(best.get(name, result), result, key=lambda each: each["cpu"])
    print(f"\n{given.dtype}; load {os.getloadavg()[0]:.1f}")
    print("| | processor time | epochs | to scikit-learn's | per epoch |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, result in best.items():
        first = best.get("scikit-learn", result)
        ratio = result["cpu"] / first["cpu"]
        each = ratio * first["epochs"] / result["epochs"]
        print(f"| {name} | {result['cpu']:.2f} s | {result['epochs']} | {ratio:.2f} | {each:.2f} |")


if __name__ == "__main__":
    main()
