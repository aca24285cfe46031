"""Tables of text as spreadsheets and systems write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import message

from downstream.data.corpora.csv_table import Table, read_table


def table(folder: Path, content: str | bytes) -> Table:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, lambda columns: None)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ('path,text\na.wav,"one, two; three"\n', None),
        ('path;text\na.wav;"one, two; three"\n', "The cells of table.csv are separated by semicolons."),
        ("path\ttext\na.wav\tone, two; three\n", "The cells of table.csv are separated by tabs."),
        ("path|text\na.wav|one, two; three\n", "The cells of table.csv are separated by bars."),
        ('sep=;\npath;text\na.wav;"one, two; three"\n', "The cells of table.csv are separated by semicolons."),
        ('\ufeffpath;text\r\na.wav;"one, two; three"\r\n', "The cells of table.csv are separated by semicolons."),
        ('path,text\ra.wav,"one, two; three"', None),
        ('path,text,,\na.wav,"one, two; three",,\n,,,\n\n', None),
        (',path,text\n0,a.wav,"one, two; three"\n', "A column of table.csv has no name and was not read."),
    ],
)
def test_cells_are_the_same_whatever_stands_between_them(tmp_path: Path, content: str, note: str | None) -> None:
    found = table(tmp_path, content)
    assert found.columns == ("path", "text")
    assert [row for _, row in found.rows] == [{"path": "a.wav", "text": "one, two; three"}]
    assert found.notes == (() if note is None else (note,))


def test_lines_are_those_of_an_editor(tmp_path: Path) -> None:
    """Also behind blank lines and a text of two lines, whose record begins in the first of them."""
    found = table(tmp_path, 'path,text\r\n\r\na.wav,"one\r\ntwo"\r\nb.wav,\u2028\r\n')
    assert [where.rpartition(" ")[2] for where, _ in found.rows] == ["3", "5"]
    assert found.rows[0][1]["text"] == "one\ntwo"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('path,text\na,x\nb,"GO\nc,x\n', "line 3: the double quote that begins a cell here is never closed"),
        ('path,text\na,"GO" DOWN\n', "line 2: there is text behind a closing double quote"),
        (
            'path,text,word\na,"GO,x\nb,GO,y\nc,GO",z\n',
            "line 2: the double quote that begins a cell here is closed in line 4",
        ),
        (f"path,text\na,{'x' * 140_000}\n", "line 2: a cell is longer than 131,072 characters"),
        (f'path,text\na,x\nb,"{"x,y" * 60_000}', "line 3: a cell is longer than 131,072 characters"),
        ("path,text\na,x\nb\0,y\n", "line 3: a NUL byte"),
        ("path,text\na,x\n".encode("utf-16"), "is text in UTF-16"),
        ("path;text\na;x;y\n", "line 2: more cells than there are columns; put a text that holds semicolons"),
        ("path,path\na,x\n", "more than one column 'path'"),
        ("pa\u0308th,p\u00e4th\na,x\n", "more than one column 'p\u00e4th'"),
    ],
)
def test_faults_name_their_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert said in message(table, tmp_path, content)
