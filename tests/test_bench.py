"""The benchmark: its contestants compute the same, one that does not is found out, and its arithmetic is right."""

import gzip
import io
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import SCRIPTS, assert_one_line, call
from rich.console import Console

from mlp_xp.bench import contestants, measure, report
from mlp_xp.bench.contestants import CONTESTANTS, Job, Unavailable, Workload
from mlp_xp.bench.worker import serve
from mlp_xp.commands import bench, bench_curves
from mlp_xp.errors import MlpXpError
from mlp_xp.parity import notebook
from mlp_xp.show.terminal import plain_console

SAMPLES, STEPS = 60, 12
SINGLE = Workload("single", "one sample a step", 1, (16,), "float64", "notebook", 0.5, STEPS)
BATCHES = Workload("batches", "batches of 5", 5, (16,), "float64", "notebook", 0.5, STEPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in which every class occurs."""
    random = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("data")
    for part, n in (("train", SAMPLES), ("t10k", 20)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(n, dtype=np.uint8) % 10)):
            header = struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape)
            with gzip.open(folder / f"{part}-{name}-ubyte.gz", "wb") as file:
                file.write(header + array.tobytes())
    return folder


@pytest.fixture(autouse=True)
def keras_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undone after the test; the contestant sets it."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")


def by_the_notebook(
    workload: Workload, folder: Path, permutations: list[np.ndarray], textbook: bool
) -> tuple[np.ndarray, list]:
    """The losses of an epoch a permutation, and the network's weights after them: from the tests' oracle."""
    data = notebook.load(folder)
    model = notebook.Notebook(hidden_size=workload.hidden[0], learning_rate=workload.learning_rate, textbook=textbook)
    images, labels = data.train_images, data.train_labels
    losses = []
    for permutation in permutations:
        images, labels = images[permutation], labels[permutation]
        for start in range(0, workload.steps * workload.batch_size, workload.batch_size):
            rows = slice(start, start + workload.batch_size)
            losses.append(model.train_step(images[rows], labels[rows]))
    return np.array(losses), [model.weights_input_hidden, model.weights_hidden_output]


@pytest.mark.filterwarnings("default")  # other libraries' warnings are not ours to mend
@pytest.mark.parametrize("workload", [SINGLE, BATCHES], ids=lambda workload: workload.name)
@pytest.mark.parametrize("name", CONTESTANTS)
def test_contestant_computes_the_losses_of_its_update_order(name: str, workload: Workload, folder: Path) -> None:
    try:
        contestant = contestants.make_contestant(Job(name, workload, 1, str(folder)))
    except Unavailable as reason:
        pytest.skip(str(reason))
    random = np.random.default_rng(4)
    permutations = [random.permutation(SAMPLES) for _ in range(2)]
    losses = []
    for permutation in permutations:
        contestant.shuffle(permutation)
        losses.append(contestant.train(0, STEPS))
    order = CONTESTANTS[name].order
    expected, weights = by_the_notebook(workload, folder, permutations, order == contestants.SIMULTANEOUS)
    other, _ = by_the_notebook(workload, folder, permutations, order == contestants.LAYERWISE)
    rtol = report.tolerance("float64")
    assert not np.allclose(expected, other, rtol=1000 * rtol)
    np.testing.assert_allclose(np.concatenate(losses), expected, rtol=rtol)
    for (actual, _), wanted in zip(contestant.network(), weights, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=rtol)


def test_names_are_unique() -> None:
    names = [*CONTESTANTS, *contestants.VARIANTS, *contestants.REFERENCES]
    assert len(set(names)) == len(names)
    assert {contestants.contestant_of(name).order for name in names} == set(contestants.REFERENCES)


def test_samples_one_by_one_are_those_of_the_batches(folder: Path) -> None:
    pytest.importorskip("jax")
    permutation = np.random.default_rng(4).permutation(SAMPLES)
    networks = []
    for name, workload in (
        (contestants.SINGLY, BATCHES),
        ("mlp_xp-numpy", SINGLE._replace(steps=STEPS * BATCHES.batch_size)),
    ):
        contestant = contestants.make_contestant(Job(name, workload, 1, str(folder)))
        contestant.shuffle(permutation)
        contestant.train(0, workload.steps)
        networks.append([array for layer in contestant.network() for array in layer])
    for one, other in zip(*networks, strict=True):
        np.testing.assert_allclose(one, other, rtol=report.tolerance("float64"), atol=report.tolerance("float64"))


def test_worker_answers_and_shuffles_anew_when_an_epoch_is_used_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Spy:
        samples = 60

        def shuffle(self, permutation: np.ndarray) -> None:
            calls.append(("shuffle", tuple(permutation)))

        def train(self, start: int, steps: int) -> None:
            calls.append(("train", start, steps))

        def network(self) -> list:
            return [(np.zeros((784, 10)), np.zeros(10))]

    monkeypatch.setattr("mlp_xp.bench.worker.make_contestant", lambda job: Spy())
    job = Job("notebook", BATCHES._replace(steps=5, hidden=()), 1, str(folder))
    answers: list[dict] = []
    serve(job, ["round\n", "round\n", "round\n", "end\n"], answers.append)
    # The last shuffle is only there to be timed.
    assert [call[0] for call in calls] == ["shuffle", "train", "train", "shuffle", "train", "shuffle"]
    assert [call[1:] for call in calls if call[0] == "train"] == [(0, 5), (25, 5), (0, 5)]
    assert calls[0] != calls[3]
    assert sorted(calls[0][1]) == list(range(60))
    assert answers[0] == {"ready": 60}
    assert all(answer["seconds"] >= 0 for answer in answers[1:4])
    assert answers[4]["peak_bytes"] > 1e6
    assert 0 < answers[4]["shuffle_seconds"] < 1
    assert answers[4]["loss"] == pytest.approx(np.log(10))


def test_a_ratio_that_includes_shuffling() -> None:
    """0.3 s a step, and 0.2 s with 0.05 s for each of four samples."""
    rounds = {"mlp_xp-numpy": ([1, 3, 3], 0.0), "notebook": ([1, 2, 2], 0.05)}
    results = [{"contestant": x, "round_seconds": y, "shuffle_seconds": z, "loss": 1} for x, (y, z) in rounds.items()]
    job = {"steps": 10, "batch_size": 4, "results": results}
    assert bench_curves.with_shuffle(job, "mlp_xp-numpy") == pytest.approx(0.75)
    assert np.isnan(bench_curves.with_shuffle(job, "mlp_xp-jax"))
    del results[0]["shuffle_seconds"]  # as in a record of an older version
    assert np.isnan(bench_curves.with_shuffle(job, "mlp_xp-numpy"))


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict:
    """A tiny record, from real processes; in it one contestant that cannot run and one that is not there."""
    workload = BATCHES._replace(steps=4, dtype="float32")
    names = ["notebook", "mlp_xp-numpy", "mlp_xp-torch-gpu"]
    part = measure.measure(workload, names, rounds=2, data_dir=folder)
    deep = measure.measure(workload._replace(name="deep", hidden=(8, 8)), names[:2], rounds=1, data_dir=folder)
    return {
        **measure.circumstances(threads=1, rounds=2),
        "date": "2000-01-01",
        "workloads": [part, deep],
    }


def test_record_of_a_tiny_run(measured: dict) -> None:
    part, deep = measured["workloads"]
    results = report.measured(part)
    assert {"notebook", "mlp_xp-numpy"} <= set(results)
    for result in results.values():
        assert len(result["round_seconds"]) == 3
        assert min(result["round_seconds"]) > 0
        assert result["peak_bytes"] > 1e6
        assert result["shuffle_seconds"] > 0
        assert report.agrees(result, part)
    assert list(report.measured(deep)) == ["mlp_xp-numpy"]
    assert {"contestant": "notebook", "unavailable": "written for one hidden layer"} in deep["results"]


def test_loss_is_that_of_the_network_after_the_last_step(measured: dict, folder: Path) -> None:
    part = measured["workloads"][0]
    random = np.random.RandomState(0)
    random.randn(784 * 16 + 16 * 10)
    permutation = random.permutation(SAMPLES)
    data = notebook.load(folder)
    model = notebook.Notebook(hidden_size=16, learning_rate=0.5)
    for start in range(0, 3 * 4 * 5, 5):
        rows = permutation[start : start + 5]
        model.train_step(data.train_images[rows], data.train_labels[rows])
    expected = notebook.cross_entropy_loss(data.test_labels, model.forward(data.test_images).output)
    assert part["reference_loss"] == {"layerwise": pytest.approx(float(expected), rel=report.tolerance("float64"))}


def test_tables_and_picture_show_everyone(measured: dict) -> None:
    text = report.markdown(measured)
    for words in ("notebook's loop", "mlp_xp, NumPy", "written for one hidden layer", measured["versions"]["numpy"]):
        assert words in text
    console = report.Console(width=80, record=True, file=io.StringIO())
    report.show(measured, console)
    shown = console.export_text()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    pytest.importorskip("matplotlib")
    assert report.draw(measured).startswith(b"\x89PNG")


def result(name: str, seconds: list[float], **others) -> dict:
    return {"contestant": name, "round_seconds": seconds, "start_seconds": 1, "peak_bytes": 10**9, "loss": 2.0} | others


def planted(*results: dict) -> dict:
    reference_loss = {"layerwise": 2.0, "simultaneous": 3.0}
    return SINGLE._asdict() | {"name": "one-float64", "results": [*results], "reference_loss": reference_loss}


def test_ratio_is_taken_within_rounds() -> None:
    # The first round is left out; the medians' ratio would be 3 / 2.
    mine, theirs = result("mlp_xp-jax", [100, 1, 3, 8]), result("notebook", [1, 2, 12, 2])
    assert report.ratios(mine, theirs) == [0.5, 0.25, 4]
    assert report.figure([0.5, 0.5, 0.5, 0.5, 4], 2) == "0.50"
    assert report.compile_seconds(mine) == 97
    assert report.step_seconds(mine, planted(mine)) == 3 / STEPS


def test_bar_is_met_or_missed() -> None:
    slow = planted(result("mlp_xp-numpy", [1, 19, 19, 19]), result("notebook", [1, 20, 20, 20], peak_bytes=5 * 10**9))
    found = report.verdicts({"threads": 1, "workloads": [slow]})
    assert found == [
        ("one-float64: time, mlp_xp, NumPy ÷ notebook's loop", "0.95", 0.9, "missed"),
        ("one-float64: peak memory, mlp_xp, NumPy ÷ notebook's loop", "0.20", 0.25, "met"),
    ]
    assert report.verdicts({"threads": None, "workloads": [slow]}) == []  # the bars are for one thread


@pytest.mark.parametrize(
    ("times", "verdict", "shown"),
    [
        # of ratios to rounds of 10, at most 0.9: a quarter of them may be anything; the last is sure, but has no figure
        ([8, 8, 8, 8, 99], "met", "0.80"),
        ([10, 10, 10, 10, 1], "missed", "1.0"),
        ([9, 9, 9, 9, 9], "met", "0.90"),
        ([8, 8, 8, 10, 10], "too noisy", "0.80–1.0"),
        ([8, 8.5, 10, 10, 10], "too noisy", "0.85–1.0"),
        ([1, 1], "too few rounds", "0.10"),
        ([4, 4, 5, 6, 6], "met", "0.40–0.60"),
    ],
)
def test_a_bar_is_judged_only_if_the_rounds_agree(times: list[float], verdict: str, shown: str) -> None:
    part = planted(result("mlp_xp-numpy", [1, *times]), result("notebook", [1, *[10] * len(times)]))
    found = report.verdicts({"threads": 1, "workloads": [part]})[0]
    assert (found.verdict, found.ratio) == (verdict, shown)


def test_no_figure_of_rounds_that_differ_too_much() -> None:
    # The quartiles are 9 and 11, or 8.9 and 11.1: a fifth of the median, or more.
    steady, wild = [9, 9, 10, 11, 11], [8.9, 8.9, 10, 11.1, 11.1]
    assert report.figure(steady, 3) == "10.0"
    assert report.figure(wild, 3) == "noisy"
    part = planted(result("mlp_xp-numpy", [1, *wild]), result("notebook", [1, *[10] * 5]))
    _, ((_, time, ratio, *_), (_, other, *_)) = report.table_of(part)
    assert (time, ratio) == ("noisy", "noisy")
    assert other == report.digits(10 / STEPS * 1e6, 3)
    console = plain_console(width=80, file=io.StringIO())
    report.show({"threads": 1, "workloads": [part]}, console)
    assert "noisy: the quartiles of the rounds differ by more than 20% of the median" in console.file.getvalue()


@pytest.mark.parametrize(
    ("times", "code", "line"),
    [
        ([8, 8, 8], 0, None),
        ([10, 10, 10], 1, None),
        ([8, 9, 10], 4, "Too noisy to judge 1 of 2 bars"),
        ([8], 4, "1 of 2 bars were not judged: this needs 3 rounds."),
    ],
)
def test_exit_code_and_text_say_whether_the_bars_were_judged(
    times: list[float], code: int, line: str | None, measured: dict, tmp_path: Path
) -> None:
    part = planted(result("mlp_xp-numpy", [1, *times], peak_bytes=1), result("notebook", [1, *[10] * len(times)]))
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(measured | {"workloads": [part]}))
    outcome = call("bench", "--record", path)
    assert (outcome.code, outcome.err) == (code, "")
    text = report.markdown(measured | {"workloads": [part]})
    for each in (" ".join(outcome.out.split()), text):
        assert line in each if line else "judge" not in each


def test_reasons_and_verdicts_are_text_as_it_is() -> None:
    odd = "[red]no[/red] :x: module"
    part = planted(
        result("mlp_xp-numpy", [1, 19, 19, 19]),
        result("notebook", [1, 20, 20, 20], peak_bytes=5 * 10**9),
        {"contestant": "numba", "unavailable": odd},
    )
    console = plain_console(width=80, file=io.StringIO())
    report.show({"threads": 1, "workloads": [part | {"title": odd}]}, console)
    shown = console.file.getvalue()
    assert shown.splitlines()[0].strip() == odd
    assert f": {odd}\n" in shown
    assert re.search(r"0\.95 +0\.9 +missed", shown)
    assert re.search(r"0\.20 +0\.25 +met", shown)


def test_a_contestant_that_computes_something_else_is_flagged(measured: dict, tmp_path: Path) -> None:
    other_order = result("pytorch", [1, 1], loss=2.0)
    part = planted(result("notebook", [1, 1]), other_order)
    assert [report.agrees(x, part) for x in part["results"]] == [True, False]
    assert "≠" in report.table_of(part)[1][1][-1]
    assert any("is not the simultaneous reference's 3" in line for line in report.notes(part))
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(measured | {"workloads": [part]}))
    assert command("--record", path).returncode == 1
    part["results"].pop()
    path.write_text(json.dumps(measured | {"workloads": [part]}))
    assert command("--record", path).returncode == 0


@pytest.mark.parametrize(
    ("number", "significant", "text"),
    [(0.0123, 2, "0.012"), (0.997, 2, "1.00"), (7.264, 3, "7.26"), (72.64, 3, "72.6"), (1234.5, 3, "1234")],
)
def test_digits(number: float, significant: int, text: str) -> None:
    assert report.digits(number, significant) == text


def test_no_digits_of_what_was_not_measured() -> None:
    _, ((_, _, notebook, torch, limit, *_),) = report.table_of(planted(result("notebook", [1, 1])))
    assert (notebook, torch, limit) == ("1.0", "–", "–")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "bench.py"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workloads", "one-float63"), ("--workloads", "did you mean 'one-float64'?")),
        (("--contestants", "numby"), ("--contestants", "did you mean 'numba'?", "module:namespace")),
        (("--threads", "many"), ("--threads", "'many' is not a whole number; give one, or all")),
        (("--threads", "0"), ("--threads", "at least 1")),
        (("--rounds", "0"), ("--rounds", "at least 1")),
        (("--steps", "0"), ("--steps", "at least 1")),
        (("--record", "nowhere.json"), ("nowhere.json", "--record", "that it wrote")),
        (("--workloads", "batch-1024-deep", "--contestants", "notebook"), ("nothing was measured",)),
    ],
)
def test_faults_are_one_line(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words)


def test_quick_is_fewer_workloads_rounds_and_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(bench, "measure", lambda *args, **options: asked.append((*args, options["rounds"])))
    console = Console(file=io.StringIO())
    bench.measure_all(bench.Options(quick=True), console)
    bench.measure_all(bench.Options(quick=True, contestants=("pytorch-compile",), steps=7), console)
    assert [workload.name for workload, _, _ in asked] == 2 * ["one-float64", "one-float32", "batch-128"]
    assert {rounds for _, _, rounds in asked} == {measure.QUICK_ROUNDS}
    assert all(workload.steps < measure.WORKLOADS[workload.name].steps for workload, _, _ in asked[:3])
    assert [*asked[0][1]] == [name for name in CONTESTANTS if name not in ("pytorch-compile", "pytorch-gpu-graphs")]
    assert [(workload.steps, names) for workload, names, _ in asked[3:]] == 3 * [(7, ("pytorch-compile",))]


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    part = measure.measure(SINGLE, ["notebook"], rounds=1, data_dir=tmp_path / "nowhere")
    assert "nowhere" in part["results"][0]["unavailable"]


def test_a_round_longer_than_an_epoch_is_refused(folder: Path) -> None:
    with pytest.raises(MlpXpError, match="steps: 13 steps of 5 samples do not fit the 60"):
        measure.measure(BATCHES._replace(steps=13), ["mlp_xp-numpy"], rounds=1, data_dir=folder)


def test_who_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    taking_part = []
    monkeypatch.setattr(bench, "measure", lambda workload, names, **options: taking_part.append([*names]))
    console = Console(file=io.StringIO())
    asked = ("my_lib:xp", "numba", "my_lib:xp")
    bench.measure_all(bench.Options(workloads=("one-float64",), contestants=asked), console)
    assert taking_part.pop() == ["my_lib:xp", "numba"]
    # Those of the bars take part too, where their bars are judged.
    bench.measure_all(bench.Options(workloads=("batch-4", "batch-1024-deep"), threads="all"), console)
    assert taking_part == [[*CONTESTANTS], [*CONTESTANTS, contestants.ONE_THREAD]]
    bench.measure_all(bench.Options(workloads=("batch-4", "batch-1024-deep"), threads="2"), console)
    assert taking_part[2:] == [[*CONTESTANTS], [*CONTESTANTS]]
    bench.measure_all(bench.Options(workloads=("batch-4",)), console)
    assert taking_part[4:] == [[*CONTESTANTS, contestants.SINGLY]]


def test_a_foreign_namespace_is_measured_and_judged(folder: Path) -> None:
    names = ["array_api_compat:numpy", "no_such_module:xp"]
    part = measure.measure(BATCHES, names, rounds=1, data_dir=folder)
    (name, result), *others = report.measured(part).items()
    assert not others
    assert name == names[0]
    assert report.agrees(result, part)
    assert any("not run: mlp_xp, no_such_module:xp: " in line for line in report.notes(part))
    console = report.Console(width=80, record=True, file=io.StringIO())
    report.show({"threads": 1, "workloads": [part]}, console)
    shown = console.export_text()
    assert "…" not in shown
    assert f"{result['loss']:.4f}" in shown


def test_document_is_updated_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text("before\n<!-- here: begin -->\nold\n<!-- here: end -->\nafter\n")
    bench.update_document(path, "here", "new\n")
    assert path.read_text() == "before\n<!-- here: begin -->\n\nnew\n\n<!-- here: end -->\nafter\n"
    with pytest.raises(MlpXpError, match="elsewhere: begin"):
        bench.update_document(path, "elsewhere", "new")


@pytest.mark.parametrize("name", ["bench", "bench_curves"])
@pytest.mark.parametrize(
    "content",
    ['{"workloads":[]}', '{"workloads":{}}', '{"workloads":[1]}', '{"workloads":[{}]}', '{"curves":[{}]}',
     '{"curves":{"a":{}}}', '{"curves":3}', '{"workloads":3}', "[" * 100_000, "[]", "\xff"],
)  # fmt: skip
def test_what_is_no_record_is_one_line(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content.encode("latin-1"))
    assert_one_line(call(name, "--record", path), 2, "--record", repr(str(path)), "is not a record of scripts/")


@pytest.mark.parametrize("name", ["bench", "bench_curves"])
def test_a_document_is_checked_before_measuring(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"mlp_xp.commands.{name}.measure_all", lambda *_: pytest.fail("it measured"))
    assert_one_line(call(name, "--update-docs", tmp_path / "no.md"), 2, "--update-docs", "no.md")
    (tmp_path / "a.md").write_text("# Nothing\n")
    assert_one_line(call(name, "--update-docs", tmp_path / "a.md"), 2, "does not have the lines")


def test_a_contestant_that_was_asked_for_and_gave_no_result_fails(measured: dict) -> None:
    """The fixture's cannot run. Nobody asked for one by name if all take part."""
    console = Console(file=io.StringIO())
    assert bench.report(bench.Options(), measured, console) in (0, 4)
    with pytest.raises(MlpXpError, match=r"^--contestants: mlp_xp-torch-gpu gave no result") as caught:
        bench.report(bench.Options(contestants=("notebook", "mlp_xp-torch-gpu")), measured, console)
    assert caught.value.exit_code == 2
