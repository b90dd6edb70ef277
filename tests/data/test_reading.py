"""Random tables, as people write them, against an independent encoder.

Whoever splits their lines.
"""

import random
import re
import statistics
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlp_xp import from_arrays, load_dataset
from mlp_xp.data import _csv_files
from mlp_xp.data.kinds import as_days, read
from mlp_xp.data.reading import MISSING
from mlp_xp.data.table import Table, Writing
from mlp_xp.data.table_files import open_table
from mlp_xp.errors import DatasetError

QUICK = 15  # tables of 60


@pytest.mark.filterwarnings("ignore::mlp_xp.MlpXpWarning")
@pytest.mark.parametrize(
    "seed",
    [
        *range(QUICK),
        *(pytest.param(i, marks=pytest.mark.slow) for i in range(QUICK, 60)),
    ],
)
def test_features_are_those_of_an_independent_encoder(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, columns, labels, how = random_table(seed)
    path = tmp_path / "t.csv"
    path.write_bytes((seed % 2 * "\ufeff" + text).encode())
    expected = np.column_stack([each for c in columns for each in c.features()])
    monkeypatch.setattr(_csv_files, "PIECE", [1 << 20, 400][seed % 3 == 0])
    dataset = load_dataset(path, label="kind", test_fraction=0, **how)
    assert dataset.signature.columns is not None
    np.testing.assert_array_equal(dataset.train.inputs, expected)
    np.testing.assert_array_equal(dataset.train.labels, np.arange(len(labels)) % 3)

    frame = pl.DataFrame({f"c{i}": each.values for i, each in enumerate(columns)})
    np.testing.assert_array_equal(from_arrays(frame, labels).train.inputs, expected)
    parquet = tmp_path / "t.parquet"
    frame.with_columns(kind=pl.Series(labels)).write_parquet(parquet)
    dataset = load_dataset(parquet, label="kind", test_fraction=0)
    np.testing.assert_array_equal(dataset.train.inputs, expected)

    for name in ("pandas", "pyarrow"):
        pytest.importorskip(name)
    dataset = from_arrays(frame.to_pandas(), labels)
    np.testing.assert_array_equal(dataset.train.inputs, expected)


PLAIN = "a,b\n1,x\n"
ODD = [
    '1," x"\n',
    '1, "x"\n',
    '1,5" pipe\n',
    '1,"x\ny"\r\n',
    '1,"x\r\ny"\n',
    "\n \n1,x\n",
    '""\n1,x\n',
    '1,"x"y\n',
    '"1\n',
    "1\n",
    "1,2,3\n",
    "1,x\r",
    "1,\u2028x\u00a0\n",
    "1,\x1cx\x00y\n",
    "x^2,7\n",
    ",\n",
    '"",""\n',
    '"""1""",""""\n',
    '1,""x""\n',
    '1,"""x\n',
    f"1,{'x' * 140_000}\n",
    "1,x",
    "1\n\n \n3\n\n",
    '1\n\n"3\n"\n\n',
]


def table_of(path: Path) -> Any:
    try:
        with open_table(path) as table:
            assert isinstance(table, Table)
            columns = [[*column] for column in table.columns]
            return table.names, columns, [*table.lines]
    except DatasetError as error:
        return str(error)


@pytest.mark.parametrize("odd", ODD)
def test_polars_and_the_csv_module_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    """Also where a piece of the file ends after any row."""
    path = tmp_path / "t.csv"
    for text in (
        PLAIN + odd,
        PLAIN + odd + "1,y\n2,z\n",
        odd + "1,y\n2,z\n",
        "a\n" + odd,
    ):
        path.write_bytes(text.encode())
        monkeypatch.setattr(_csv_files, "_separator_of", lambda _: ",")
        found = [table_of(path)]
        sizes = (4, 16) if text.startswith("a") else ()  # a piece has the header
        for size in sizes:
            monkeypatch.setattr(_csv_files, "PIECE", size)
            found.append(table_of(path))
        with monkeypatch.context() as patch:
            patch.setattr(_csv_files, "_regular_rows", lambda *_: None)
            expected = table_of(path)
        monkeypatch.undo()
        assert found == [expected] * len(found)


def test_an_empty_line_in_a_single_column_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\n\na\n1\n\n \n3\n\n")
    assert table_of(path) == (("a",), [["1", "", "", "3", ""]], [4, 5, 6, 7, 8])


def test_usual_files_are_read_by_polars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_csv_files, "_irregular_rows", None)
    for seed in range(20):
        path = tmp_path / "t.csv"
        path.write_bytes(random_table(seed)[0].replace('"line\r\n', '"line\n').encode())
        assert len(table_of(path)) == 3


@pytest.mark.parametrize("count", [4000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_numbers_and_dates_are_pythons_to_the_last_bit(count: int) -> None:
    source = random.Random(0)
    letters = "0123456789" * 3 + "+-..eE_ infaN,x١"
    numbers, dates = [], []
    for _ in range(count):
        size = source.randint(1, 6)
        numbers.append("".join(source.choice(letters) for _ in range(size)).strip())
        numbers.append(repr(source.uniform(1, 9) * 10.0 ** source.randint(-320, 308)))
        numbers.append(str(source.getrandbits(source.randint(1, 150))))
        moment = datetime(source.randint(1, 9999), 1, 1, 10) + timedelta(
            days=source.randint(0, 300), microseconds=source.randint(0, 2) * 500_000
        )
        text = moment.isoformat(source.choice("T "))
        dates.append(text.replace("-0", source.choice(["-0", "-1", "-3"]), 1))

    def number_of(text: str) -> float:
        if not re.fullmatch(
            r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", text, re.I
        ):
            return np.inf
        return float(text)

    for kind, by_python, texts in (
        ("number", number_of, numbers),
        ("date", as_days, dates),
    ):
        expected = []
        for text in texts:
            value = by_python(text)
            wrong = value if np.isfinite(value) else np.inf
            expected.append(np.nan if text.lower() in MISSING else wrong)
        found = read(kind, pl.Series(texts), Writing())
        np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore::mlp_xp.MlpXpWarning")
def test_a_fault_is_told_by_its_line_however_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_csv_files, "PIECE", 64)
    rows = "".join(f'{n},"two\nlines",a\n\n' for n in range(50))
    path = tmp_path / "t.csv"
    for bad, place in (
        ("x,y,a\n", "line 152, column 'n': 'x'"),
        ("1,y\n", "line 152: has 2 columns"),
        ('1,"y"z,a\n', "line 152: ',' expected"),
        ("1,y,\n", "line 152, column 'kind'"),
    ):
        path.write_text(f"n,text,kind\n{rows}{bad}", encoding="utf-8")
        with pytest.raises(DatasetError, match=place):
            load_dataset(path, label="kind")


# Random tables, and an encoder in plain Python.


GAPS = ["", "NA", "nan", "-", "#N/A", "None", "?", " "]
WORDS = [
    "red",
    "a,b",
    "a;b",
    'say "hi"',
    "é",
    "日本",
    "line\nbreak",
    "x^2",
    "b01",
    "\tz",
]


class Column:
    """The values of a column, how they are written, and their features."""

    def __init__(self, rows: int, random: random.Random) -> None:
        kinds = ["number", "number", "whole", "word", "date", "flag"]
        self.kind = random.choice(kinds)
        words = random.sample(WORDS, 4)
        values = {
            "number": lambda: random.gauss(0, 10.0 ** random.randint(-3, 6)),
            "whole": lambda: float(random.randint(-5, 5)),
            "word": lambda: random.choice(words).strip(),
            "date": lambda: date(1960, 1, 1) + timedelta(random.randint(0, 30000)),
            "flag": lambda: random.choice([True, False]),
        }
        share = random.choice([0, 0, 0.2])
        self.values: list[Any] = []
        for _ in range(rows):
            is_gap = random.random() < share
            self.values.append(None if is_gap else values[self.kind]())
        self.random = random

    def texts(self, mark: str, date_format: str | None) -> list[str]:
        """Write the values, each in one of several ways."""
        texts = []
        for value in self.values:
            pad = self.random.choice(["", "", "", " "])
            texts.append(f"{self._text(value, mark, date_format)}{pad}")
        return texts

    def _text(self, value: Any, mark: str, date_format: str | None) -> str:
        choose = self.random.choice
        if value is None:
            return choose(GAPS)
        if self.kind == "flag":
            return choose([str(value), str(value).upper()])
        if self.kind == "date":
            if date_format:
                return value.strftime(date_format)
            return choose([value.isoformat(), f"{value}T00:00:00", f"{value} 00:00Z"])
        if self.kind == "word":
            return value
        forms = [repr(value)]
        if self.kind == "whole":
            forms = [f"{value:.0f}", f"{value:.0f}{mark}0", f"{value:+.0f}e0"]
        return choose(forms).replace(".", mark)

    def features(self) -> list[np.ndarray]:
        """Encode the values in plain Python."""
        known = [value for value in self.values if value is not None]
        gaps = [float(value is None) for value in self.values]
        columns = []
        if self.kind == "word":
            counts = Counter(known)
            limit = max(2, 0.01 * len(self.values))
            levels = sorted(word for word in counts if counts[word] >= limit)
            for level in levels:
                columns.append([float(value == level) for value in self.values])
            others = {*counts} - {*levels}
            if others and levels:
                columns.append([float(value in others) for value in self.values])
        else:
            if self.kind == "date":
                epoch = date(1970, 1, 1)
                known = [(value - epoch).days for value in known]
            fill = float(statistics.median(map(float, known)))
            numbers = iter(known)
            values = [fill if gap else float(next(numbers)) for gap in gaps]
            columns.append(values)
        if any(gaps):
            columns.append(gaps)
        return [np.array(column) for column in columns]


def written(columns: list[list[str]], separator: str, random: random.Random) -> str:
    """Write fields as CSV: some in quotes, which some need."""
    always, end = random.random() < 0.2, random.choice(["\n", "\n", "\r\n"])
    lines = []
    for row in zip(*columns, strict=True):
        fields = []
        for text in row:
            needs = always or re.search(rf'["\n\r{separator}]', text)
            quoted = '"' + text.replace('"', '""') + '"'
            fields.append(quoted if needs or random.random() < 0.02 else text)
        lines.append(separator.join(fields))
    for _ in range(random.choice([0, 0, 2])):
        lines.insert(random.randint(0, len(lines)), random.choice(["", "  "]))
    return end.join(lines) + random.choice([end, ""])


def random_table(seed: int) -> tuple[str, list[Column], list[str], dict[str, Any]]:
    """Return the text of a table, its columns, its labels, and options to read it."""
    source = random.Random(seed)
    rows = source.choice([30, 60, 150])
    columns = [Column(rows, source) for _ in range(source.randint(1, 5))]
    separator, mark = source.choice([(",", "."), (";", ","), ("\t", ",")])
    how: dict[str, Any] = {"decimal": mark}
    if seed % 2 and any(each.kind == "date" for each in columns):
        how["date_format"] = source.choice(["%d.%m.%Y", "%m/%d/%Y"])
    labels = [f"class {n % 3}" for n in range(rows)]
    fields = []
    for i, each in enumerate(columns):
        fields.append([f"c{i}", *each.texts(mark, how.get("date_format"))])
    fields.append(["kind", *labels])
    return written(fields, separator, source), columns, labels, how
