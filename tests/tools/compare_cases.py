"""What compare.py runs: inputs, trainings whose weights are compared, and every error that the documents promise."""

import json
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Change = Callable[[Path], object]

STRANGER = """
import array_api_compat.numpy as numpy
class Namespace:
    def __getattr__(self, name):
        if name == {lacks!r}:
            raise AttributeError(name)
        return getattr(numpy, name)
    {function}
xp = Namespace()
"""


def write_inputs(folder: Path) -> None:
    """Write small data sets of every kind, and array libraries with faults."""
    random = np.random.default_rng(7)
    kinds = random.integers(0, 3, 60)
    numbers = np.round(random.normal(size=(60, 3)) + kinds[:, None], 3)
    rows = [",".join(map(str, row)) for row in numbers.tolist()]
    price = np.round(numbers @ [2.0, -1.0, 0.5] + 10, 2)
    write_table(
        folder / "table.csv", "width,height,mass,kind", [f"{r},{'abc'[k]}" for r, k in zip(rows, kinds, strict=True)]
    )
    write_table(folder / "rooms.csv", "width,height,mass,price", [f"{r},{p}" for r, p in zip(rows, price, strict=True)])
    both = [f"{r},{int(k > 0)},{int(k > 1)}" for r, k in zip(rows, kinds, strict=True)]
    write_table(folder / "labels.csv", "width,height,mass,red,big", both)
    write_table(folder / "new.csv", "width,height,mass", rows[:9])
    write_table(folder / "whole.csv", "width,height,mass,sold", [f"{r},{100 + i}" for i, r in enumerate(rows)])
    images, digits = random.integers(0, 256, (260, 8, 8)).astype(np.uint8), np.arange(260).astype(np.uint8) % 10
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    (folder / "images").mkdir()
    for name, array in zip(names, (images[:200], digits[:200], images[200:], digits[200:]), strict=True):
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / "images" / name).write_bytes(header + array.tobytes())
    (folder / "digits").mkdir()
    for name, part in (("train", slice(0, 200)), ("test", slice(200, 260))):
        lines = [",".join(map(str, [d, *image.ravel()])) for d, image in zip(digits[part], images[part], strict=True)]
        (folder / "digits" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    np.savez(folder / "arrays.npz", X=numbers, y=kinds)
    (folder / "arrays").mkdir()
    for name, array in {
        "x_train": images[:200],
        "y_train": digits[:200],
        "x_test": images[200:],
        "y_test": digits[200:],
    }.items():
        np.save(folder / "arrays" / f"{name}.npy", array)
    for i in range(24):
        kind = folder / "pictures" / ("cat", "dog")[i % 2]
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i] // 2 + 100 * np.uint8(i % 2)).save(kind / f"{i}.png")
    Image.fromarray(images[0]).save(folder / "picture.png")
    (folder / "wrong.py").write_text(
        STRANGER.format(function="exp = staticmethod(lambda x: numpy.exp(x) * (1 + 1e-6))", lacks="")
    )
    (folder / "raising.py").write_text(
        STRANGER.format(function="def exp(self, x): raise RuntimeError('no luck')", lacks="")
    )
    (folder / "lacking.py").write_text(STRANGER.format(function="", lacks="exp"))
    (folder / "file").write_text("text")


def write_table(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n")


# Trainings. The weights, records and figures of all runs that the commands write are compared, and what they print if
# it is JSON or CSV. A command that begins with "stop " gets SIGTERM after its first report. None holds out samples of
# own data: since 5292b23 these are drawn by lot.

OWN = "--data-dir table.csv --label kind"
TINY = "--data-dir images --hidden 4 --epochs 2 --report-every 50 --checkpoint-every 70"
LONG = "--data-dir images --hidden 4 --epochs 120 --report-every 50 --checkpoint-every 70 --run-dir run"
WEIGHTS: dict[str, list[str]] = {
    "notebook": ["train --epochs 1 --run-dir run", "evaluate run --json"],
    "notebook, not deferred": ["train --epochs 1 --no-defer-updates --run-dir run"],
    "small": ["train --recipe small --epochs 2 --run-dir run"],
    "standard": ["train --recipe standard --epochs 1 --run-dir run"],
    "adam, dropout, validation, patience": [
        "train --recipe small --optimizer adam --learning-rate 0.02 --dropout 0.3 --validation 5000 --patience 1"
        " --epochs 4 --run-dir run",
    ],
    "adamw, cosine, decay, clipping, gelu": [
        f"train {OWN} --optimizer adamw --schedule cosine --weight-decay 0.01 --no-decay-bias --clip-norm 0.5"
        " --activation gelu --init glorot --hidden 7 5 --run-dir run",
    ],
    "nesterov, tanh, float32": [
        f"train {OWN} --optimizer momentum --nesterov --activation tanh --dtype float32 --batch-size 7 --run-dir run"
    ],
    "own table": [f"train {OWN} --run-dir run", "evaluate run --json", "predict run new.csv --csv"],
    "regression": [
        "train --data-dir rooms.csv --label price --run-dir run", "evaluate run --json", "predict run new.csv --json",
        "train --data-dir rooms.csv --label price --no-scale-targets --run-dir plain",
        "train --data-dir rooms.csv --label price,mass --run-dir two", "evaluate two --csv",
    ],
    "several labels": ["train --data-dir labels.csv --label red,big --run-dir run", "evaluate run --json"],
    "options of the data": [
        f"train {OWN} --exclude mass --test-fraction 0.3 --split-seed 4 --no-stratify --run-dir run",
        f"train {OWN} --test-fraction 0 --epochs 2 --run-dir no_test",
        "train --data-dir whole.csv --label sold --task regression --epochs 2 --run-dir whole",
    ],
    "arrays, pictures, digits": [
        "train --data-dir arrays.npz --epochs 3 --run-dir npz", "train --data-dir arrays --epochs 2 --run-dir npy",
        "train --data-dir images --epochs 2 --run-dir idx", "train --data-dir digits --epochs 2 --run-dir digits_run",
        "train --data-dir pictures --picture-size 6 --run-dir resized", "evaluate resized --json",
        "train --data-dir pictures --run-dir as_they_are", "predict as_they_are pictures picture.png --json",
    ],
    "resumed after a stop": [f"stop train {LONG} --optimizer adam --batch-size 8", "train --resume run"],
    "resumed after a stop, dropout": [f"stop train {LONG} --dropout 0.2 --batch-size 4", "train --resume run"],
    "trained longer": [f"train {TINY} --run-dir run", "train --resume run --epochs 5"],
    "from other weights": [f"train {TINY} --run-dir first", f"train {TINY} --start-from first --seed 3 --run-dir run"],
    "ensemble": [
        f"train {OWN} --run-dir a", f"train {OWN} --seed 1 --run-dir b",
        "evaluate a b --json", "predict a b new.csv --csv",
    ],
    "sweep": [
        f"sweep {OWN} --epochs 4 --seed 0..2 --learning-rate 0.001 0.01 --jobs 2 --sweep-dir sweep",
        "evaluate sweep --csv",
    ],
    "random sweep": [
        f"sweep {OWN} --epochs 2 --random 3 --learning-rate 0.001..0.1 --seed 0..1 --jobs 2 --sweep-dir sweep",
    ],
    "jax": ["train --backend jax --threads 1 --epochs 1 --run-dir run"],
    "jax, adam": ["train --backend jax --threads 1 --recipe small --optimizer adam --epochs 1 --run-dir run"],
    "torch": ["train --backend torch --epochs 1 --warm-up-steps 3 --run-dir run"],
    "torch, adam": ["train --backend torch --recipe small --optimizer adam --epochs 1 --run-dir run"],
}  # fmt: skip

# Runs whose folders are compared: the names of files, of fields of records, and of tensors.
FOLDERS: dict[str, list[str]] = {
    "images": [f"train {TINY} --validation 20 --run-dir run"],
    "own table": [f"train {OWN} --epochs 2 --run-dir run"],
    "regression": ["train --data-dir rooms.csv --label price --validation 9 --epochs 2 --run-dir run"],
    "several labels": ["train --data-dir labels.csv --label red,big --validation 9 --epochs 2 --run-dir run"],
    "interrupted": [f"stop train {LONG}"],
    "adam on JAX": [f"train {TINY} --backend jax --optimizer adam --run-dir run"],
    "sweep": [
        f"sweep {OWN} --epochs 3 --seed 0..1 --optimizer sgd --learning-rate 0.01 1e200 --validation 9"
        " --sweep-dir sweep",
        "plot sweep",
    ],
    "random sweep": [f"sweep {OWN} --epochs 2 --random 2 --learning-rate 0.001..0.1 --jobs 2 --sweep-dir sweep"],
    "Optuna": [
        f"sweep {OWN} --epochs 2 --optuna 2 --learning-rate 0.001..0.1 --validation 9 --jobs 1 --sweep-dir sweep"
    ],
    "parity": ["parity --backends array-api-strict --steps 3 --data-dir images --report-dir report"],
}

# Errors.

PREPARED = [
    f"train {TINY} --run-dir run",
    f"train {OWN} --epochs 2 --run-dir table_run",
    "train --data-dir rooms.csv --label price --epochs 2 --run-dir rooms_run",
    f"sweep {OWN} --epochs 2 --seed 0..1 --validation 6 --jobs 1 --sweep-dir sweep",
]


def put(name: str, content: str | bytes) -> Change:
    """Write a file."""
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def line(number: int, text: str, name: str = "table.csv") -> Change:
    """Replace a line of a file; the first one has number 1."""

    def change(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        lines[number - 1] = text
        (folder / name).write_text("\n".join(lines) + "\n")

    return change


def cut(name: str) -> Change:
    """Cut off the second half of a file."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


def alter(name: str) -> Change:
    """Flip a bit of the last number in a file."""

    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-3] ^= 1
        (folder / name).write_bytes(content)

    return change


def setting(name: str, value: object, file: str = "run/config.json") -> Change:
    """Change a setting in a run's config.json."""

    def change(folder: Path) -> None:
        record = json.loads((folder / file).read_text())
        record["settings"][name] = value
        (folder / file).write_text(json.dumps(record))

    return change


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def arrays(name: str, **values: Any) -> Change:
    """Write an archive of arrays, or for a name that ends in .npy one array."""
    save = np.savez if name.endswith(".npz") else lambda path, x: np.save(path, x, allow_pickle=True)
    return lambda folder: save(folder / name, **values)


def case(name: str, words: str, code: int, *said: str, change: Change | None = None, **request: Any) -> dict[str, Any]:
    """Return a case: what it is called, the command, its exit code, and words that its line contains.

    `a|b` is said if either is. No words: it prints no error, only an exit code. lines: of errors, where it is not one.
    request: what `compare_worker.serve` is asked besides.
    """
    lines = request.pop("lines", bool(said))
    return {
        "name": name,
        "words": words,
        "code": code,
        "said": said,
        "lines": lines,
        "change": change,
        "request": request,
    }


T = f"train {OWN}"
NAN = float("nan")
OTHER = {"until": "busy/metrics.jsonl", "beside": f"train {LONG} --epochs 100000 --run-dir busy".split()}
ERRORS = [
    # The command line.
    case("unknown option", "train --epohcs 3", 2, "--epohcs", "--epochs"),
    case("unknown option of evaluate", "evaluate run --jason", 2, "--jason", "--json"),
    case("unknown word", "train nonsense", 2, "nonsense"),
    case("unknown command", "tarin --epochs 3", 2, "tarin", "train"),
    case("wrong choice", "train --optimizer adm", 2, "--optimizer", "adm", "adam"),
    case("wrong recipe", "train --recipe smal", 2, "recipe", "smal", "small"),
    case("wrong data set", "train --dataset kmist", 2, "--dataset", "kmist", "kmnist"),
    case("wrong activation", "train --activation rleu", 2, "--activation", "rleu", "relu"),
    case("wrong schedule", "train --schedule cosin", 2, "--schedule", "cosine"),
    case("wrong task", f"{T} --task clases", 2, "--task", "classes"),
    case("wrong dtype", "train --dtype float16", 2, "float16", "float32", "float64"),
    case("not a number", "train --epochs many", 2, "--epochs", "many"),
    case("not a whole number", "train --epochs 2.5", 2, "--epochs", "2.5"),
    case("no value", "train --epochs", 2, "--epochs"),
    case("empty value", "train --run-dir=", 2, "--run-dir"),
    case("negative rate", "train --learning-rate -1", 2, "--learning-rate", "-1|-1.0"),
    case("rate that is no number", "train --learning-rate nan", 2, "--learning-rate", "nan"),
    case("dropout of all", "train --dropout 1", 2, "--dropout"),
    case("no epochs", "train --epochs 0", 2, "--epochs", "0"),
    case("layer without units", "train --hidden 0", 2, "--hidden", "0"),
    case("large seed", "train --seed 4294967296", 2, "--seed", "4294967296"),
    case("momentum 1", "train --momentum 1", 2, "--momentum"),
    case("fraction above 1", f"{T} --test-fraction 1.5", 2, "--test-fraction", "1.5"),
    case("patience without validation", "train --patience 3", 2, "patience", "validation"),
    case("clipping in layerwise order", "train --clip-norm 1", 2, "clip", "simultaneous"),
    case("nesterov without momentum", "train --nesterov", 2, "nesterov", "momentum"),
    case("no threads", "train --threads 0", 2, "--threads", "0"),
    case("threads that are no number", "train --threads two", 2, "--threads", "two"),
    case("two sources of settings", "train --recipe small --config run/config.json", 2, "--recipe", "--config"),
    case("two data sets", "train --dataset kmnist --data-dir images", 2, "--dataset|kmnist", "--data-dir|images"),
    case("batch of more than all", "train --data-dir images --batch-size 201", 2, "--batch-size", "201", "200"),
    case("all held out", "train --data-dir images --validation 200", 2, "--validation", "200"),
    case("JSON and CSV", "evaluate run --json --csv", 2, "--json", "--csv"),
    case("nothing to evaluate", "evaluate", 2, "RUN_DIR|run_dir|RUN-DIR"),
    case("nothing to predict", "predict run", 2, "PICTURE|picture"),
    case("unknown shell", "completion csh", 2, "csh|completion", "bash"),
    case("unknown column", "runs . --sort nonsense", 2, "nonsense"),
    case("test results to sort by", "runs . --sort accuracy", 2, "accuracy"),
    case("unknown condition", "runs . --where optimiser=adam", 2, "optimiser", "optimizer"),
    case("unknown contestant", "bench --contestants notebok", 2, "notebok", "notebook"),
    # Libraries and machines.
    case("unknown backend", "train --backend nunpy", 2, "--backend", "nunpy", "numpy"),
    case("unknown module", "train --backend no_such_module:xp", 2, "no_such_module"),
    case("lacking library", "train --backend lacking:xp --data-dir images", 2, "lacking:xp", "exp"),
    case("failing library", "train --backend raising:xp --data-dir images", 3, "raising:xp", "exp", "no luck"),
    case("no CuPy", "train --backend cupy --data-dir images", 2, "cupy", "-m pip install", missing=["cupy"]),
    case("no GPU", "train --backend cupy --data-dir images", 2, "cupy"),
    case("no JAX", "train --backend jax --data-dir images", 2, "jax", "-m pip install", missing=["jax"]),
    case("no PyTorch", "evaluate run --backend torch", 2, "torch", "-m pip install", missing=["torch"]),
    case("no Matplotlib", "plot run", 2, "matplotlib", "-m pip install", missing=["matplotlib"]),
    case("no Optuna", f"sweep {OWN} --optuna 2 --learning-rate 0.1..0.2 --validation 9", 2, "optuna", "-m pip install",
         missing=["optuna"]),
    case("no such device", "train --backend torch --device cuda:7 --data-dir images", 2, "torch", "cuda:7"),
    case("device of NumPy", "train --device cuda:0 --data-dir images", 2, "numpy", "cuda:0"),
    case("too little memory", "train --hidden 3000000 3000000 --data-dir images", 2, "memory"),
    # Tables.
    case("no such table", "train --data-dir none.csv --label kind", 2, "none.csv"),
    case("no label column", "train --data-dir table.csv --label kinds", 2, "table.csv", "kinds", "kind"),
    case("no label given", "train --data-dir table.csv", 2, "table.csv", "--label"),
    case("no excluded column", f"{T} --exclude masss", 2, "table.csv", "masss"),
    case("short row", T, 2, "table.csv", "3", change=line(3, "1,2,a")),
    case("long row", T, 2, "table.csv", "4", change=line(4, "1,2,3,a,5")),
    case("text in a cell", T, 2, "table.csv", "5", "height", "tall", change=line(5, "1,tall,3,a")),
    case("empty cell", T, 2, "table.csv", "6", "mass", change=line(6, "1,2,,a")),
    case("NaN in a cell", T, 2, "table.csv", "7", "width", "nan", change=line(7, "nan,2,3,a")),
    case("infinite cell", T, 2, "table.csv", "8", "width", "inf", change=line(8, "inf,2,3,a")),
    case("missing label", T, 2, "table.csv", "9", "kind", "NA", change=line(9, "1,2,3,NA")),
    case("text among labels", "train --data-dir rooms.csv --label price", 2, "rooms.csv", "12", "price", "1.2 kg",
         change=line(12, "1,2,3,1.2 kg", "rooms.csv")),
    case("too large for float32", f"{T} --dtype float32", 2, "table.csv", "4", "height", change=line(4, "1,1e300,3,a")),
    case("columns of one name", T, 2, "table.csv", "width", change=line(1, "width,width,mass,kind")),
    case("not UTF-8", T, 2, "table.csv", change=put("table.csv", b"width,kind\n1,caf\xe9\n2,b\n")),
    case("open quotation", T, 2, "table.csv", change=line(10, '1,2,3,"a')),
    case("header alone", T, 2, "table.csv", change=put("table.csv", "width,kind\n")),
    case("empty file", T, 2, "table.csv", change=put("table.csv", "")),
    case("one class", T, 2, "kind|class", change=put("table.csv", "width,kind\n1,a\n2,a\n3,a\n4,a\n5,a\n")),
    case("classes or numbers", "train --data-dir whole.csv --label sold", 2, "whole.csv", "sold", "--task"),
    case("labels that are not 0 or 1", "train --data-dir labels.csv --label red,big --task labels", 2,
         "labels.csv", "4",
         "big", "2", change=line(4, "1,2,3,0,2", "labels.csv")),
    case("broken gzip", "train --data-dir table.csv.gz --label kind", 2, "table.csv.gz",
         change=put("table.csv.gz", b"\x1f\x8bno")),
    case("broken Parquet", "train --data-dir t.parquet --label kind", 2, "t.parquet",
         change=put("t.parquet", b"PAR1 no")),
    # Arrays, pictures, IDX.
    case("truncated archive", "train --data-dir arrays.npz", 2, "arrays.npz", change=cut("arrays.npz")),
    case("objects in an archive", "train --data-dir arrays.npz", 2, "arrays.npz",
         change=arrays("arrays.npz", X=np.array([1, "a", None] * 9, dtype=object), y=np.arange(27) % 2)),
    case("object array", "train --data-dir arrays", 2, "y_train.npy",
         change=arrays("arrays/y_train.npy", x=np.array([1, None] * 100, dtype=object))),
    case("archive without y", "train --data-dir arrays.npz", 2, "arrays.npz", "y",
         change=arrays("arrays.npz", X=np.eye(9))),
    case("array too short", "train --data-dir arrays", 2, "y_train|labels", "150", "200",
         change=arrays("arrays/y_train.npy", x=np.arange(150) % 10)),
    case("NaN in an array", "train --data-dir arrays.npz", 2, "arrays.npz",
         change=arrays("arrays.npz", X=np.array([[1.0], [NAN], [3.0]] * 9), y=np.arange(27) % 2)),
    case("corrupt picture", "train --data-dir pictures", 2, "0.png", change=cut("pictures/cat/0.png")),
    case("no picture", "train --data-dir pictures", 2, "0.png", change=put("pictures/cat/0.png", "text")),
    case("pictures of two sizes", "train --data-dir pictures", 2, "png", "--picture-size",
         change=lambda folder: Image.new("L", (9, 9)).save(folder / "pictures/cat/0.png")),
    case("truncated IDX", "train --data-dir images", 2, "train-images-idx3-ubyte",
         change=cut("images/train-images-idx3-ubyte")),
    case("missing IDX", "train --data-dir images", 2, "t10k-labels-idx1-ubyte",
         change=remove("images/t10k-labels-idx1-ubyte")),
    case("label above 9", "train --data-dir images", 2, "train-labels-idx1-ubyte|label", "10",
         change=put("images/train-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\xc8" + bytes([10] * 200))),
    case("pixel above 255", "train --data-dir digits", 2, "train.csv", "2", "256",
         change=line(2, ",".join(["1", "256"] + ["0"] * 63), "digits/train.csv")),
    case("folder without data", "train --data-dir empty", 2, "empty", change=lambda folder: (folder / "empty").mkdir()),
    # Runs.
    case("not a run", "evaluate none", 2, "none"),
    case("run without a model", "evaluate run", 2, "model.safetensors", change=remove("run/model.safetensors")),
    case("model cut off", "evaluate run", 2, "model.safetensors", change=cut("run/model.safetensors")),
    case("model altered", "predict run picture.png", 2, "model.safetensors", change=alter("run/model.safetensors")),
    case("checkpoint cut off", "train --resume run --epochs 3", 2, "checkpoint.safetensors",
         change=cut("run/checkpoint.safetensors")),
    case("checkpoint altered", "train --resume run --epochs 3", 2, "checkpoint.safetensors",
         change=alter("run/checkpoint.safetensors")),
    case("configuration is not JSON", "evaluate run", 2, "config.json", change=put("run/config.json", "{")),
    case("configuration to start from", "train --config c.json", 2, "c.json", change=put("c.json", "[]")),
    case("setting of a wrong type", "train --resume run", 2, "config.json", "epochs", change=setting("epochs", "two")),
    case("setting out of range", "train --resume run", 2, "config.json", "momentum", change=setting("momentum", 2.0)),
    case("setting unknown", "train --config run/config.json", 2, "config.json", "speed", change=setting("speed", 1)),
    case("metrics cut off", "train --resume run --epochs 3", 2, "metrics.jsonl", change=put("run/metrics.jsonl", "")),
    case("result damaged", "train --resume run --epochs 3", 2, "result.json", change=put("run/result.json", "{")),
    case("other settings", "train --resume run --learning-rate 0.5", 2, "--learning-rate", "0.5"),
    case("fewer epochs", "train --resume run --epochs 1", 2, "--epochs", "1"),
    case("resume into another folder", "train --resume run --run-dir other", 2, "--run-dir"),
    case("resume and overwrite", "train --resume run --overwrite", 2, "--overwrite"),
    case("nothing to resume", "train --resume none", 2, "none"),
    case("changed data", "train --resume table_run --epochs 3", 2, "table_run", "data_crc32|data",
         change=line(9, "1,2,3,a")),
    case("moved data", "evaluate table_run", 2, "table.csv", "--data-dir", change=remove("table.csv")),
    case("existing run", "train --data-dir images --run-dir run", 2, "run", "--overwrite"),
    case("folder of other things", "train --data-dir images --run-dir arrays --overwrite", 2, "arrays"),
    case("file instead of a folder", "train --data-dir images --run-dir file", 2, "file"),
    case("folder below a file", "train --data-dir images --run-dir file/run", 1, "file/run"),
    case("other hidden layers", "train --data-dir images --hidden 5 --start-from run", 2, "--start-from", "run",
         "4", "5"),
    case("start from nothing", "train --data-dir images --start-from none", 2, "--start-from", "none"),
    case("other columns", "predict table_run new.csv", 2, "new.csv", "mass",
         change=line(1, "width,height,weight", "new.csv")),
    case("bad row to predict", "predict table_run new.csv", 2, "new.csv", "3", "height", "x",
         change=line(3, "1,x,3", "new.csv")),
    case("pictures for a table", "predict table_run picture.png", 2, "table_run|table", "picture.png|CSV"),
    case("missing picture", "predict run none.png", 1, "none.png"),
    case("damaged picture", "predict run picture.png", 1, "picture.png", change=cut("picture.png")),
    case("ensemble of two tasks", "evaluate table_run rooms_run", 2, "table_run", "rooms_run"),
    case("damaged run in a table", "runs .", 1, "run/config.json|config.json", change=put("run/config.json", "{")),
    case("no folder of runs", "runs none", 2, "none"),
    case("nothing to draw", "plot none", 2, "none"),
    case("picture below a file", "plot run table_run --output file/c.png", 1, "file/c.png"),
    case("run in use", "train --resume busy", 2, "busy", "process", **OTHER),
    case("run in use, again", "train --data-dir images --run-dir busy --overwrite", 2, "busy", "process", **OTHER),
    case("diverged", f"{T} --optimizer sgd --learning-rate 1e200 --run-dir new", 1, "diverged", "learning|rate"),
    case("full disk", f"train {LONG} --run-dir new", 1, "new", largest_file=2000),
    case("full output", f"train {LONG} --run-dir new", 1, "--resume", "new", output="/dev/full"),
    case("run without a configuration", "evaluate run", 2, "run", change=remove("run/config.json")),
    # Sweeps.
    case("failing member",
         f"sweep {OWN} --epochs 2 --optimizer sgd --learning-rate 0.01 1e200 --jobs 1 --sweep-dir new", 1),
    case("empty range", f"sweep {OWN} --seed 5..3", 2, "--seed", "5..3"),
    case("wrong value of a member", f"sweep {OWN} --learning-rate 0.1 -1", 2, "--learning-rate", "-1|-1.0"),
    case("other sweep", f"sweep {OWN} --epochs 3 --seed 0..1 --sweep-dir sweep", 2, "--sweep-dir", "sweep"),
    case("random and optuna", f"sweep {OWN} --random 2 --optuna 2", 2, "--random", "optuna"),
    case("optuna without validation", f"sweep {OWN} --optuna 2 --learning-rate 0.1..0.2", 2, "--validation"),
    case("no jobs", f"sweep {OWN} --seed 0..1 --jobs 0", 2, "--jobs", "0"),
    case("no cluster", f"sweep {OWN} --seed 0..1 --cluster dask://127.0.0.1:9", 2, "--cluster", "127.0.0.1:9"),
    case("unknown cluster", f"sweep {OWN} --seed 0..1 --cluster slurm://here", 2, "--cluster", "slurm"),
    case("damaged sweep", "runs sweep --summary", 1, "sweep.json", change=put("sweep/sweep.json", "{")),
    # Parity.
    case("mismatch", "parity --backends wrong:xp --steps 3 --data-dir images", 1, "wrong:xp", "loss|logits", lines=2),
    case("operation that deviates", "parity --backends wrong:xp --steps 3 --data-dir images --trace", 1,
         "wrong:xp", "exp"),
    case("backend that fails", "parity --backends raising:xp --steps 3 --data-dir images", 3, "raising:xp", "exp",
         "no luck"),
    case("backend that lacks", "parity --backends lacking:xp --steps 3 --data-dir images", 2, "lacking:xp", "exp"),
    case("backend unknown", "parity --backends nunpy", 2, "--backends", "nunpy", "numpy"),
    case("nothing to compare", "parity --backends numpy", 2, "nothing|numpy"),
    case("tolerance of a trace", "parity --backends wrong:xp --trace --tolerance 1e-3", 2, "--tolerance", "--trace"),
    case("device without a name", "parity --device cuda:0", 2, "--device", "cuda:0"),
    # Endings.
    case("closed pipe", f"train {LONG} --run-dir new", 141, "--resume new", output="closed pipe"),
    case("closed pipe of the help", "train --help", 141, output="closed pipe"),
    case("closed pipe of results", "evaluate run", 141, output="closed pipe"),
    *[
        case(f"SIG{name} in training", f"train {LONG} --run-dir new", code, "--resume new", until="new/metrics.jsonl",
             signal=signal.Signals[f"SIG{name}"])
        for name, code in (("INT", 130), ("TERM", 143), ("HUP", 129))
    ],
    case("SIGINT in a sweep", "sweep --data-dir images --epochs 4000 --seed 0..3 --jobs 1 --sweep-dir new", 130,
         "again|same command", until="new/members/0000/metrics.jsonl", signal=signal.SIGINT),
]  # fmt: skip
