"""The guided tour runs as it stands."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / "tour.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/tour.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "0 10000 1.23906 0.7833" in printed
    assert "[7 2 1 0 4] [7 2 1 0 4]" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "weights.png"}
    assert names["last"].accuracy > 0.95
