"""Attack the program until something breaks: `make torture`, or `python tests/torture.py [PART...] [OPTIONS]`.

docs/reliability.md says what each part does and which promise it tests. Without arguments all parts run, for about 20
minutes. A fault is printed with the command that shows it again, its folder is kept, and the exit code is 1.
"""

import argparse
import datetime as dt
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from torture_process import ROOT, Session, UnavailableError, session_space, with_shim

# The share of the time of each part. Parts end earlier when all is done.
PARTS = {"kills": 6, "calls": 5, "power": 4, "disks": 1, "pairs": 3, "files": 1, "environments": 1}
BACKENDS = ("numpy", "jax", "torch")
# Parts that are programs of their own: they print their counts in the last line, and end with 1 if they find a fault.
PROGRAMS = {"files": "torture_files", "environments": "torture_environments"}
ON_NUMPY = ("calls", "power", "disks", "pairs")
"""Parts whose result does not depend on the array library."""
BEGIN, END = "<!-- begin torture -->", "<!-- end torture -->"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="torture.py", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--backends", nargs="+", default=None, help="numpy, jax, torch; default: those installed")
    parser.add_argument("--minutes", type=float, default=20, help="of all parts together")
    parser.add_argument("--rounds", type=int, default=0, help="at most so many rounds of each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a single round, as a fault names it")
    parser.add_argument("--plant", default="", help="a fault to plant in the program, of torture_faults.py")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "torture", help="folder for faults")
    parser.add_argument("--report", type=Path, help="write the counts to this JSON file")
    parser.add_argument("--update-docs", type=Path, help="write the table between the marks of this document")
    options = parser.parse_args(arguments)
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part}: is not a part; choose of {', '.join(PARTS)}")
    return options


def installed(backend: str) -> bool:
    """Return whether a backend's library is installed."""
    return importlib.util.find_spec({"numpy": "numpy"}.get(backend, backend)) is not None


def run_part(part: str, backend: str, options: argparse.Namespace, minutes: float) -> dict[str, Any]:
    """Run one part in this process. Return its record."""
    counts: Counter[str] = Counter()
    skipped, began = "", time.monotonic()
    with session_space() as space:
        session = Session(
            space=space,
            keep=options.keep.resolve(),
            backend=backend,
            seed=options.seed,
            end=began + 60 * minutes,
            rounds=options.rounds,
            only=options.only,
            plant=options.plant,
            counts=counts,
            faults=[],
        )
        try:
            if options.plant:
                importlib.import_module("torture_faults").PLANTS[options.plant]()
            importlib.import_module(f"torture_{part}").main(session)
        except UnavailableError as error:
            skipped = str(error)
    faults = [fault._asdict() for fault in session.faults]
    seconds = round(time.monotonic() - began, 1)
    return {
        "part": part,
        "backend": backend,
        "seconds": seconds,
        "skipped": skipped,
        "counts": {name: counts[name] for name in counts if not name.startswith("passed ")},
        "faults": faults,
    }


def start_part(part: str, backend: str, options: argparse.Namespace, minutes: float) -> dict[str, Any]:
    """Run one part in a process of its own: a library that has started threads cannot be forked."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.json"
        words = [
            sys.executable,
            __file__,
            part,
            "--backends",
            backend,
            "--minutes",
            str(minutes),
            "--report",
            str(path),
        ]
        words += ["--rounds", str(options.rounds), "--seed", str(options.seed), "--keep", str(options.keep)]
        words += ["--only", options.only, "--plant", options.plant]
        code = subprocess.run(words, check=False, env={**os.environ, "TORTURE_PART": "1"}).returncode
        if path.exists():
            return dict(json.loads(path.read_text())["parts"][0])
    what = f"the part itself failed with exit code {code}"
    fault = {"what": what, "command": " ".join(words), "kept": ""}
    return {"part": part, "backend": backend, "seconds": 0, "skipped": "", "counts": {}, "faults": [fault]}


def start_program(part: str, options: argparse.Namespace, minutes: float) -> dict[str, Any]:
    """Run the program of a part that has its own."""
    record: dict[str, Any] = {"part": part, "backend": "numpy", "skipped": "", "counts": {}, "faults": []}
    path = Path(__file__).with_name(f"{PROGRAMS[part]}.py")
    if not path.exists():
        return {**record, "seconds": 0, "skipped": f"there is no {path.name}"}
    began = time.monotonic()
    words = [str(60 * minutes), *([str(options.seed)] if part == "files" else [])]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("LD_PRELOAD", None)
    last = ""
    command = [sys.executable, str(path), *words]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip()
    if process.returncode:
        what = f"exit code {process.returncode}: {last}"
        record["faults"] = [{"what": what, "command": " ".join(["python", f"tests/{path.name}", *words]), "kept": ""}]
    return {**record, "seconds": round(time.monotonic() - began, 1), "summary": last}


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """Return the circumstances of a report."""
    names = ("mlp_xp", "numpy", "jax", "torch", "safetensors", "filelock")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return {
        "date": dt.date.today().isoformat(),
        "commit": commit,
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
        "versions": versions,
        "seed": options.seed,
        "minutes": options.minutes,
        "command": f"python tests/torture.py {' '.join(sys.argv[1:])}".strip(),
    }


def table(record: dict[str, Any]) -> str:
    """Return the counts as a Markdown table."""
    lines = ["| part | backend | seconds | rounds | counts | faults |", "| --- | --- | ---: | ---: | --- | ---: |"]
    for part in record["parts"]:
        counts = {name: n for name, n in part["counts"].items() if name not in ("rounds", "faults")}
        text = part["skipped"] and f"skipped: {part['skipped']}"
        text = text or part.get("summary") or ", ".join(f"{name} {n}" for name, n in counts.items())
        lines.append(
            f"| {part['part']} | {part['backend']} | {part['seconds']:.0f} | {part['counts'].get('rounds', '')} "
            f"| {text} | {len(part['faults'])} |"
        )
    return "\n".join(lines)


def described(record: dict[str, Any]) -> str:
    """Return the text between the marks of the document."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"Measured on {record['date']} at commit {record['commit']} with `{record['command']}`: {record['machine']}, "
        f"{versions}.\n\n{table(record)}"
    )


def update_document(path: Path, text: str) -> None:
    """Replace what is between the marks."""
    content = path.read_text(encoding="utf-8")
    if content.count(BEGIN) != 1 or content.count(END) != 1:
        sys.exit(f"{path}: does not have the lines {BEGIN} and {END}")
    head, _, rest = content.partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> int:
    """Run the parts. Return 1 if a fault was found."""
    options = parse(sys.argv[1:])
    circumstances = facts(options)  # before a part changes sys.argv
    backends = options.backends or [name for name in BACKENDS if installed(name)]
    parts = options.parts or [*PARTS]
    options.keep.mkdir(parents=True, exist_ok=True)
    try:
        with_shim(ROOT / "build" / "torture-shim")
        unavailable = ""
    except UnavailableError as error:
        unavailable = str(error)
    jobs = [
        (part, name) for part in parts for name in (backends[:1] if part in ON_NUMPY or part in PROGRAMS else backends)
    ]
    records = []
    if os.environ.get("TORTURE_PART"):
        records = [run_part(*jobs[0], options, options.minutes)]
    else:
        for i, (part, backend) in enumerate(jobs):
            left = options.minutes - sum(record["seconds"] for record in records) / 60
            weights = [PARTS[p] / len([1 for q, _ in jobs if q == p]) for p, _ in jobs[i:]]
            minutes = max(0.05, left * weights[0] / sum(weights))
            print(f"{part} on {backend}, at most {minutes:.1f} minutes", flush=True)
            if part not in PROGRAMS and not unavailable and len(jobs) == 1:
                record = run_part(part, backend, options, minutes)
            elif part in PROGRAMS:
                record = start_program(part, options, minutes)
            elif unavailable:
                record = {
                    "part": part,
                    "backend": backend,
                    "seconds": 0,
                    "skipped": unavailable,
                    "counts": {},
                    "faults": [],
                }
            else:
                record = start_part(part, backend, options, minutes)
            records.append(record)
    whole = {**circumstances, "parts": records}
    if options.report:
        options.report.write_text(json.dumps(whole, indent=2) + "\n")
    if options.update_docs:
        update_document(options.update_docs, described(whole))
    if not os.environ.get("TORTURE_PART"):
        print(f"\n{table(whole)}")
        for fault in (fault for record in records for fault in record["faults"][:3]):
            print(f"fault: {fault['what']}\n  {fault['command']}\n  {fault['kept']}")
    return 1 if any(record["faults"] for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
