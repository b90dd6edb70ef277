"""`make gpu`: who sees the card, parts with a time limit, the document; and all of it in a dry run on the stand-in."""

import fcntl
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cupy_stand_in
import numpy as np
import pytest
from data_sets import synthetic, write_idx_folder
from helpers import SCRIPTS, assert_one_line, call, finish, start, wait_until

from mlp_xp.bench import gpu, gpu_report, gpu_worker
from mlp_xp.bench.card import Card, CardError, choose_cuda, find_card
from mlp_xp.bench.contestants import Job, PyTorch
from mlp_xp.bench.gpu import FAILED, NOT_RUN, PASSED, UNFINISHED, Part, Plan
from mlp_xp.bench.measure import GPU_WORKLOADS, WORKLOADS, reference_threads
from mlp_xp.commands import gpu as command

ROOT = SCRIPTS.parent
DOCUMENT = ROOT / "docs" / "gpu.md"
CARD = Card("NVIDIA H100 80GB HBM3", "570.86.15", "81559 MiB", "12.8")
TABLE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 570.86.15              Driver Version: 570.86.15      CUDA Version: 12.8     |
|-----------------------------------------+------------------------+----------------------+
"""


def fake_nvidia_smi(folder: Path, rows: str, table: str = TABLE, code: int = 0) -> None:
    """A program that says what nvidia-smi says, and writes down what it was asked."""
    folder.mkdir(exist_ok=True)
    (folder / "rows").write_text(rows)
    (folder / "table").write_text(table)
    program = folder / "nvidia-smi"
    program.write_text(
        f'#!{sys.executable}\nimport sys\nwith open({str(folder / "asked")!r}, "a") as file:\n'
        "    print(*sys.argv[1:], file=file)\n"
        f'print(open({str(folder)!r} + ("/rows" if len(sys.argv) > 1 else "/table")).read(), end="")\n'
        f"sys.exit({code})\n"
    )
    program.chmod(0o755)


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return folder


def test_card_is_what_nvidia_smi_says(smi):
    fake_nvidia_smi(smi, "NVIDIA H100 80GB HBM3, 570.86.15, 81559 MiB\nNVIDIA T4, 570.86.15, 15360 MiB\n")
    assert find_card() == CARD


@pytest.mark.parametrize(
    ("head", "cuda"),
    [
        ("Driver Version: 610.1     CUDA UMD Version: 13.4", "13.4"),
        ("Driver Version: 418.67    CUDA Version: N/A", ""),
        ("Driver Version: 390.48", ""),
    ],
)
def test_cuda_of_the_driver(head, cuda, smi):
    fake_nvidia_smi(smi, "NVIDIA T4, 610.1, 15360 MiB\n", f"| NVIDIA-SMI 610.1  {head} |\n")
    assert find_card().cuda == cuda


@pytest.mark.parametrize(("visible", "asked"), [("1,0", "--id=1"), ("GPU-8a56", "--id=GPU-8a56"), ("MIG-1", None)])
def test_card_is_the_first_that_programs_see(visible, asked, smi, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake_nvidia_smi(smi, "NVIDIA T4, 570.86.15, 15360 MiB\n")
    find_card()
    question = (smi / "asked").read_text().splitlines()[0].split()
    assert question[2:] == ([asked] if asked else [])


def no_program(smi: Path) -> None:
    pass


def broken_driver(smi: Path) -> None:
    fake_nvidia_smi(
        smi, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\nMore.\n", code=9
    )


def no_devices(smi: Path) -> None:
    fake_nvidia_smi(smi, "No devices were found\n")


def nothing_said(smi: Path) -> None:
    fake_nvidia_smi(smi, "")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (no_program, "nvidia-smi is not installed"),
        (broken_driver, "couldn't communicate with the NVIDIA driver"),
        (no_devices, "No devices were found"),
        (nothing_said, "lists no card"),
    ],
)
def test_no_usable_card_is_one_line_before_anything_is_installed(prepare, words, smi, monkeypatch, capsys):
    prepare(smi)
    with pytest.raises(CardError, match=words) as caught:
        find_card()
    assert "\n" not in str(caught.value)
    main = script_main(monkeypatch)
    done = []
    monkeypatch.setitem(main.__globals__, "install", lambda cuda: done.append("install"))
    monkeypatch.setattr(os, "execv", lambda *_: done.append("execv"))
    monkeypatch.setattr(sys, "argv", ["scripts/gpu.py"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert not done
    said = capsys.readouterr().err
    assert said.startswith("error: no usable GPU: ")
    assert words in said
    assert said.count("\n") == 1


def script_main(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The main function of the script, which is no module of the package."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return runpy.run_path(str(SCRIPTS / "gpu.py"))["main"]


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_cards_are_not_usable(visible, smi, monkeypatch):
    fake_nvidia_smi(smi, "NVIDIA T4, 570.86.15, 15360 MiB\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(CardError, match="CUDA_VISIBLE_DEVICES"):
        find_card()


@pytest.mark.parametrize(
    ("cuda", "wanted", "chosen"),
    [("12.8", None, 12), ("13.0", None, 13), ("14.1", None, 13), ("13.0", "12", 12), ("", "13", 13)],
)
def test_cuda_to_install_for(cuda, wanted, chosen):
    assert choose_cuda(CARD._replace(cuda=cuda), wanted) == chosen


@pytest.mark.parametrize(
    ("cuda", "wanted", "words"),
    [
        ("12.8", "13", "supports CUDA 12.8, not 13"),
        ("11.8", None, "supports CUDA 11.8, not 12"),
        ("", None, "give CUDA=12 or CUDA=13"),
        ("13.0", "11", "'11' is not known"),
    ],
)
def test_cuda_that_cannot_be(cuda, wanted, words):
    with pytest.raises(CardError, match=re.escape(words)):
        choose_cuda(CARD._replace(cuda=cuda), wanted)


def test_script_installs_for_the_driver_and_goes_on_there(smi, monkeypatch):
    fake_nvidia_smi(smi, "NVIDIA T4, 570.86.15, 15360 MiB\n")
    main = script_main(monkeypatch)
    installed_for, executed, started = [], [], []

    def execv(python: Path, words: list[str]) -> None:
        executed.append(words)
        raise SystemExit  # this process is no more

    monkeypatch.setitem(main.__globals__, "install", lambda cuda: installed_for.append(cuda) or Path("its-python"))
    monkeypatch.setitem(main.__globals__, "start", lambda command: started.append((command, sys.argv[1:])))
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(sys, "argv", ["scripts/gpu.py", "--limit", "9"])
    with pytest.raises(SystemExit):
        main()
    assert installed_for == [12]
    python, script, *words = executed[0]
    assert (python, Path(script).name) == ("its-python", "gpu.py")
    monkeypatch.setattr(sys, "argv", ["scripts/gpu.py", *words])
    main()
    assert installed_for == [12]
    assert started == [("gpu", ["--limit", "9"])]
    assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_hands_its_variables_on(monkeypatch):
    monkeypatch.setenv("CUDA", "/usr/local/cuda")  # as module systems set it
    for name in ("MAKEFLAGS", "MAKELEVEL", "ARGS"):  # of the make that runs the tests
        monkeypatch.delenv(name, raising=False)
    for given, words in (
        ((), "python3 scripts/gpu.py"),
        (
            ("CUDA=13", "INSTALL=no", "PYTHON=py", "ARGS=--limit 9"),
            "py scripts/gpu.py --cuda 13 --no-install --limit 9",
        ),
    ):
        run = subprocess.run(["make", "-n", "gpu", *given], cwd=ROOT, capture_output=True, text=True, check=True)
        assert run.stdout.split() == words.split()


def test_extras_are_those_of_each_cuda():
    extras = (ROOT / "pyproject.toml").read_text()
    for cuda in (12, 13):
        (line,) = re.findall(rf"^gpu-cuda{cuda} = (.*)", extras, flags=re.MULTILINE)
        assert f"cupy-cuda{cuda}x" in line
        assert f"jax[cuda{cuda}]" in line
        assert "torch" in line


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)  # without packages it starts at once


def assert_free(lock: Path) -> None:
    """The process that held the lock is dead, or dies within seconds: the system tells nobody when a grandchild has."""
    end = time.monotonic() + 10
    with lock.open("w") as file:
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                assert time.monotonic() < end, "it lives"
                time.sleep(0.01)


def test_part_is_killed_at_its_limit_with_all_that_it_has_started(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    hold = f"import fcntl, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"
    grandchild = f"{hold}; time.sleep(600)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', {grandchild!r}])"
    log = tmp_path / "log"
    commands = (python("print('first')"), python(child), python("print('last')"))
    wait = subprocess.Popen.wait

    def reach_the_limit(process: subprocess.Popen, timeout: float | None = None) -> int:
        """Once the grandchild runs, however long that takes here."""
        if timeout is None or child not in process.args:
            return wait(process, timeout)
        wait_until(lambda: gpu.last_line(log) == "held", process)
        return wait(process, 0)

    monkeypatch.setattr(subprocess.Popen, "wait", reach_the_limit)
    codes = gpu.run_part(commands, log, 60, os.environ)
    assert codes == [0, None]
    assert gpu.last_line(log) == "held"
    assert_free(lock)
    assert gpu.judge(Part("x", "x", commands, None), codes, log) == {
        "status": UNFINISHED,
        "reason": "killed at its time limit; last output: held",
    }


def test_interrupt_ends_the_part(tmp_path):
    lock = tmp_path / "lock"
    hold = f"import fcntl, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); time.sleep(600)"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        with pytest.raises(KeyboardInterrupt):
            gpu.run_part((python(hold),), tmp_path / "log", 600, os.environ)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert_free(lock)


SEEN = {"version": "1", "device": "cuda:0", "card": CARD.name}
LIBRARIES = [
    {"name": "cupy", **SEEN},
    {"name": "jax", "unseen": "no CUDA plugin"},
    {"name": "torch", **SEEN},
]
REPORT = {
    "rows": [["numpy"] + 7 * ["a"], ["cupy"] + 7 * ["b"]],
    "also": "cupy: accuracy",
    "faults": [],
    "steps": 5,
    "deviations": [1e-9, 2e-9],
    "tolerance": [1e-8, 1e-8],
}


def on_a_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codes: dict[str, str]) -> None:
    """Let the command find a card, and its parts run this Python instead of what they are."""
    monkeypatch.setattr(command, "DOCUMENT", tmp_path / "gpu.md")
    monkeypatch.setattr(command, "find_card", lambda: CARD)
    monkeypatch.setattr(command, "look", lambda plan: LIBRARIES)
    original = gpu.parts

    def parts(plan: Plan, libraries: list) -> list[Part]:
        found = [part._replace(commands=(python(codes.get(part.name, "")),)) for part in original(plan, libraries)]
        for case in gpu_worker.CASES:
            (plan.folder / f"parity-torch-{case.name}.json").write_text(json.dumps(REPORT))
        (plan.folder / f"parity-cupy-{gpu_worker.CASES[0].name}.json").write_text(json.dumps(REPORT))
        return found[:5]

    monkeypatch.setattr(gpu, "parts", parts)


def test_a_part_that_fails_or_hangs_leaves_the_others_theirs(tmp_path, monkeypatch):
    codes = {
        "tests": "print('not passed: t::x: failure: wrong'); print('tests: 7, not passed: 1'); raise SystemExit(1)",
        "parity-cupy": "print('second case', flush=True); import time; time.sleep(600)",
        # The document of an earlier run stays until this one has ended.
        "parity-torch": f"import pathlib; assert pathlib.Path({str(tmp_path / 'gpu.md')!r}).read_text() == 'old'",
    }
    (tmp_path / "gpu.md").write_text("old")
    on_a_card(monkeypatch, tmp_path, codes)
    outcome = call("gpu", "--output-dir", tmp_path / "out", "--limit", "10")
    assert outcome.code == 1, outcome
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())
    found = {part["name"]: part["status"] for part in record["parts"]}
    assert found == {
        "tests": FAILED,
        "parity-cupy": UNFINISHED,
        "parity-jax": NOT_RUN,
        "parity-torch": PASSED,
        "gpu-one-float64": FAILED,
    }
    text = (tmp_path / "gpu.md").read_text()
    for words in (
        "# On a GPU\n",
        f"| {CARD.name} | {CARD.driver} | 12.8 | 81559 MiB |",
        "- jax does not see the card: no CUDA plugin",
        "- GPU tests: failed: exit code 1: tests: 7, not passed: 1",
        "- not passed: t::x: failure: wrong",
        "- parity, cupy: unfinished: killed at its time limit; last output: second case",
        "no result for: mlp_xp-cupy, mlp_xp-torch-gpu",
        "![Deviation of each loss from NumPy in float64, one sample a step, float64](gpu-parity-one-float64.png)",
    ):
        assert words in text
    assert text.count("| cupy | b") == 5  # of CuPy the case that was finished, and the four of what passed
    assert "stand-in" not in text
    assert "Dry run" not in text


def test_parity_that_was_cut_short_is_no_success(tmp_path, monkeypatch):
    on_a_card(monkeypatch, tmp_path, {"tests": "print('tests: 7, not passed: 0')"})
    assert call("gpu", "--output-dir", tmp_path / "out").code == 1
    parts = {part["name"]: part for part in json.loads((tmp_path / "out" / "gpu.json").read_text())["parts"]}
    assert parts["tests"]["status"] == PASSED
    assert parts["parity-cupy"]["reason"] == "no result for: batch-128-float64, one-float32, batch-128-float32"


def test_all_passed_is_code_0_though_jax_does_not_see_the_card():
    parts = [
        {"name": "tests", "status": PASSED},
        {"name": "parity-jax", "status": NOT_RUN},
    ]
    assert all(command.acceptable(part, LIBRARIES) for part in parts)
    assert not command.acceptable({"name": "parity-torch", "status": NOT_RUN}, LIBRARIES)
    assert not command.acceptable({"name": "parity-jax", "status": UNFINISHED}, LIBRARIES)
    blind = [{"name": "cupy", "unseen": "x"}]
    assert not command.acceptable({"name": "parity-cupy", "status": NOT_RUN}, blind)


def test_table_compares_with_pytorch_on_the_same_card():
    def result(name: str, *seconds: float, loss: float = 2.0) -> dict:
        return {"contestant": name, "round_seconds": [9, *seconds], "start_seconds": 1.25, "loss": loss}

    workload = {
        **GPU_WORKLOADS["gpu-batch-128"]._asdict(),
        "steps": 1000,
        "reference_loss": {"layerwise": 2.0, "simultaneous": 3.0},
        "results": [
            result("mlp_xp-cupy", 1, 1, 1),
            result("pytorch-gpu", 2, 2, 2, loss=3.0),
            result("pytorch-gpu-graphs", 0.5, 0.5, 0.5, loss=3.1),
            {"contestant": "mlp_xp-jax-gpu", "unavailable": "out of memory"},
        ],
    }
    assert gpu_report.bench_rows(workload) == [
        ["mlp_xp, CuPy", "1000", "0.50", "2.0", "1.2", "8.0", "2.0000"],
        ["PyTorch, GPU †", "2000", "1.0", "4.0", "1.2", "7.0", "3.0000"],
        ["PyTorch, CUDA graphs †", "500", "0.25", "1.0", "1.2", "8.5", "3.1000 ≠"],
    ]
    gaps = gpu_report.missing({"libraries": [], "parts": [], "workloads": [workload]})
    assert gaps == [f"benchmark, {workload['title']}: mlp_xp, JAX, GPU did not run: out of memory"]


def test_cuda_graphs_are_torch_compile_with_reduced_overhead(data_dir, monkeypatch):
    torch = pytest.importorskip("torch")
    modes = []
    monkeypatch.setattr(torch, "compile", lambda model, mode: modes.append(mode) or model)
    workload = GPU_WORKLOADS["gpu-one-float64"]
    from mlp_xp.bench import contestants

    monkeypatch.setattr(contestants, "load_rows", lambda job: (np.zeros((2, 784)), np.zeros(2, np.int64)))
    for name in ("pytorch-gpu", "pytorch-gpu-graphs"):
        mode, device = contestants.CONTESTANTS[name].arguments
        assert device == "cuda"
        PyTorch(Job(name, workload, 1, str(data_dir)), mode, "cpu")
    assert modes == ["reduce-overhead"]


def test_workloads_fit_an_epoch_and_the_library_is_told_no_tf32():
    for workload in GPU_WORKLOADS.values():
        assert workload.steps * workload.batch_size <= 60000
    assert not set(GPU_WORKLOADS) & set(WORKLOADS)
    assert reference_threads(GPU_WORKLOADS["gpu-batch-1024"], 1) == 1
    assert reference_threads(GPU_WORKLOADS["gpu-batch-1024-deep"], 1) == os.cpu_count()
    code = "import jax; print(jax.config.jax_default_matmul_precision)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | gpu.ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "highest\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--limit", "0"), "--limit"),
        (("--stand-in", "nowhere"), "has no package cupy"),
        (("--limit", "1", "--output-dir", str(SCRIPTS)), "is not empty"),
    ],
)
def test_bad_usage_is_one_line(arguments, words, monkeypatch):
    monkeypatch.setattr(command, "find_card", lambda: CARD)
    assert_one_line(call("gpu", *arguments), 2, words)


def test_stand_in_is_never_taken_for_cupy(smi, tmp_path):
    """Not even where a card is found: the command ends, and the document stays as it is."""
    fake_nvidia_smi(smi, "NVIDIA T4, 570.86.15, 15360 MiB\n")
    before = DOCUMENT.read_bytes()
    env = {
        "PATH": str(smi),
        "CUDA_VISIBLE_DEVICES": "99",  # there is none of this number, should there be a real card
        "PYTHONPATH": os.pathsep.join([str(cupy_stand_in.FOLDER), os.environ.get("PYTHONPATH", "")]),
    }
    try:
        outcome = finish(start("gpu", "--no-install", "--limit", "1", "--output-dir", tmp_path / "out", env=env))
        assert DOCUMENT.read_bytes() == before
    finally:
        DOCUMENT.write_bytes(before)
    assert outcome.code == 2, outcome
    assert outcome.err.count("\n") == 1
    assert "none of cupy, jax, torch sees the card" in outcome.err
    assert "belongs to no installed distribution of CuPy" in outcome.err


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="the system does not tell a process's children"
)
def test_a_command_that_is_told_to_end_ends_its_part(tmp_path):
    """SIGTERM, as a cancelled job sends it."""
    arguments = ["--stand-in", cupy_stand_in.FOLDER, "--output-dir", tmp_path / "out"]
    process = start("gpu", *arguments)
    log = tmp_path / "out" / "look-cupy.log"
    wait_until(lambda: log.exists() and log.read_text(), process)
    wait_until(lambda: children(process.pid), process)
    (child,) = children(process.pid)
    own = Path(f"/proc/{child}/cmdline")
    wait_until(lambda: b"gpu_worker" in own.read_bytes(), process)
    time.sleep(0.5)  # until the command waits for it
    process.terminate()
    outcome = finish(process)
    assert outcome.code == 143, outcome
    assert not Path(f"/proc/{child}").exists()


def children(pid: int) -> list[int]:
    """The processes that a process has started, of Linux."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_what_a_distribution_installed_is_known():
    assert gpu_worker.of_a_distribution("numpy")
    assert not gpu_worker.of_a_distribution("helpers")


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a dry run of everything, by the command that people type, on little data."""
    folder = tmp_path_factory.mktemp("gpu")
    data = write_idx_folder(folder / "data", synthetic(3100, 100, 28))
    arguments = ["--stand-in", cupy_stand_in.FOLDER, "--data-dir", data, "--output-dir", folder / "out"]
    before = DOCUMENT.read_bytes(), sorted((ROOT / "docs").iterdir())
    process = start("gpu", *arguments)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, ""), out
    assert (DOCUMENT.read_bytes(), sorted((ROOT / "docs").iterdir())) == before
    return folder / "out"


def test_dry_run_runs_every_part(dry_run):
    record = json.loads((dry_run / "gpu.json").read_text())
    statuses = {part["name"]: part["status"] for part in record["parts"]}
    assert list(statuses) == ["tests", "parity-cupy", "parity-jax", "parity-torch", *GPU_WORKLOADS]
    blind = {f"parity-{each['name']}" for each in record["libraries"] if "unseen" in each}
    assert "parity-cupy" not in blind
    assert {name for name, status in statuses.items() if status != PASSED} == blind
    count, not_passed = re.fullmatch(r"tests: (\d+), not passed: (\d+)", record["parts"][0]["summary"]).groups()
    assert int(count) > 0
    assert int(not_passed) == 0
    assert [*record["parity"]["cupy"]] == [case.name for case in gpu_worker.CASES]
    assert [workload["name"] for workload in record["workloads"]] == [*GPU_WORKLOADS]


def test_dry_run_claims_no_gpu(dry_run):
    text = (dry_run / "dry-run.md").read_text()
    assert text.startswith("# Dry run: stand-in, not a GPU\n\nNo GPU was used")
    assert "| stand-in, not a GPU | none | none | none |" in text
    assert text.count("**stand-in, not a GPU.**") == 2  # parity and benchmark begin with it
    assert "NVIDIA" not in text
    assert "GPU tests" not in text
    assert "cupy-cuda" not in text
    record = json.loads((dry_run / "gpu.json").read_text())
    assert record["dry_run"] is True
    assert record["card"]["name"] == "stand-in, not a GPU"
    assert "stand-in" in record["libraries"][0]["version"]


def test_dry_run_has_its_pictures(dry_run):
    text = (dry_run / "dry-run.md").read_text()
    names = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
    assert len(names) == len(gpu_worker.CASES) + 1
    for name in names:
        assert name.startswith("dry-run-")
        assert (dry_run / name).read_bytes().startswith(b"\x89PNG")


def test_document_in_the_repository_is_of_no_dry_run():
    text = DOCUMENT.read_text()
    assert text == gpu_report.NOT_YET or text.startswith("# On a GPU\n\nWritten by `make gpu`.")
    assert "stand-in" not in text
