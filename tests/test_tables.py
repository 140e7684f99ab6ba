"""Tables of other tools -> a history, and one sentence for what cannot be one."""

import json
from pathlib import Path

import numpy as np
import pytest

from latente.diagnosis.tables import CLOCKS, NAMES, read
from latente.messages import Problem


def table(tmp_path: Path, text: str, name: str = "log.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, **typed: str) -> Problem:
    with pytest.raises(Problem) as problem:
        read(path, typed)
    return problem.value


HEADERS = [
    ("step,d_loss,g_loss", "step", {"critic/loss", "generator/loss"}),
    ("iteration;Loss_D;Loss_G;lr", "step", {"critic/loss", "generator/loss", "lr"}),
    ("Epoch\tDiscriminator Loss\tGenerator Loss", "epoch", {"critic/loss", "generator/loss"}),
    ("kimg,critic_loss,G_loss,FID", "images", {"critic/loss", "generator/loss", "fid"}),
    ("images,loss,recon,kl", "images", {"loss", "reconstruction", "kl"}),
    ("iter,train/loss,Reconstruction_Loss,KLD,val_loss", "step", {"loss", "reconstruction", "kl", "test/loss"}),
    ("errD,errG,D(x),D(G(z))", "row", {"critic/loss", "generator/loss", "critic/real", "critic/fake"}),
    ("images,probe/coverage,critic/loss,critic/loss/sd", "images", {"probe/coverage", "critic/loss"}),
]


@pytest.mark.parametrize(("header", "unit", "columns"), HEADERS, ids=[header for header, _, _ in HEADERS])
def test_columns_by_their_usual_names(header: str, unit: str, columns: set[str], tmp_path: Path) -> None:
    separator = max(";\t,", key=header.count)
    rows = [separator.join(str(i + k + 2) for k in range(header.count(separator) + 1)) for i in range(5)]
    found = read(table(tmp_path, "\n".join([header, *rows])))
    assert (found.unit, set(found.columns)) == (unit, columns)
    assert found.facts["foreign"] and all(len(series) == 5 for series in found.columns.values())


def test_no_name_stands_for_two_columns() -> None:
    others = [name for names in NAMES.values() for name in names] + [
        n for names, _, _ in CLOCKS.values() for n in names
    ]
    assert len(others) == len(set(others))


def test_values_and_clocks(tmp_path: Path) -> None:
    found = read(table(tmp_path, "kimg,d_loss,g_loss\n1,0.5,2\n2,,3\n4,0.25,n/a\n"))
    assert found.columns["critic/loss"].images.tolist() == [1000, 4000]
    assert found.columns["critic/loss"].values.tolist() == [0.5, 0.25]
    assert found.columns["generator/loss"].values.tolist() == [2, 3], "empty cells are allowed"
    epochs = read(table(tmp_path, "epoch,loss\n1,4\n1,3\n2,2\n2,1\n"))
    assert epochs.columns["loss"].images.tolist() == [1, 1.5, 2, 2.5] and epochs.unit == "epoch"
    again = read(table(tmp_path, "step,loss\n5,4\n1,3\n2,2\n"))
    assert again.unit == "row", "a clock that does not rise is none"
    german = read(table(tmp_path, "epoch;loss\n1;0,75\n2;0,5\n"))
    assert german.columns["loss"].values.tolist() == [0.75, 0.5]
    printed = read(table(tmp_path, 'step,loss\n1,"tensor(0.5, grad_fn=<X>)"\n2,tensor(0.25)\n'))
    assert printed.columns["loss"].values.tolist() == [0.5, 0.25]


def test_json_lines_and_lists_and_nested_names(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": {"d": 1.0 / (i + 1), "g": 2.0}, "note": None} for i in range(4)]
    lines = read(table(tmp_path, "\n".join(json.dumps(row) for row in rows), "log.jsonl"))
    assert set(lines.columns) == {"critic/loss", "generator/loss"} and lines.unit == "step"
    listed = read(table(tmp_path, json.dumps(rows), "log.json"))
    assert np.array_equal(listed.columns["critic/loss"].values, lines.columns["critic/loss"].values)
    stats = [{"Progress/kimg": {"mean": i, "std": 0}, "Loss/D/loss": {"mean": 0.5, "std": 1}} for i in range(1, 4)]
    stylegan = read(table(tmp_path, "\n".join(json.dumps(row) for row in stats), "stats.jsonl"))
    assert stylegan.columns["critic/loss"].values.tolist() == [0.5] * 3
    assert stylegan.columns["critic/loss"].images.tolist() == [1000, 2000, 3000]


def test_probabilities_become_logits(tmp_path: Path) -> None:
    found = read(table(tmp_path, "step,D(x),D(G(z))\n1,0.5,0.5\n2,0.9,0.1\n"))
    assert found.columns["critic/real"].values == pytest.approx([0, np.log(9)])
    logits = read(table(tmp_path, "step,D(x),D(G(z))\n1,0.5,-0.5\n2,9,0.1\n"))
    assert logits.columns["critic/real"].values.tolist() == [0.5, 9]


def test_the_rest_can_be_typed(tmp_path: Path) -> None:
    path = table(tmp_path, "when,adversary,maker\n10,1,2\n20,3,4\n")
    found = read(path, {"critic": "adversary", "generator": "maker", "step": "when"})
    assert found.columns["critic/loss"].values.tolist() == [1, 3] and found.unit == "step"
    assert read(path, {"probe/coverage": "maker"}).columns["probe/coverage"].values.tolist() == [2, 4]
    both = table(tmp_path, "step,d_loss,loss_d\n1,5,6\n2,7,8\n")
    assert read(both).columns["critic/loss"].values.tolist() == [5, 7], "the first with a usual name"
    assert read(both, {"critic": "loss_d"}).columns["critic/loss"].values.tolist() == [6, 8], (
        "what is typed comes first"
    )


REFUSED = [
    ("", "diagnosis.table_empty"),
    ("\n\n", "diagnosis.table_empty"),
    ("step,d_loss\n", "diagnosis.table_empty"),
    ("step,d_loss\n1,2\n", "diagnosis.table_one_row"),
    ("step,d_loss\n1,2\n2,\n", "diagnosis.table_one_row"),
    ("step,wibble\n1,2\n2,3\n", "diagnosis.table_unknown"),
    ("step\n1\n2\n", "diagnosis.table_unknown"),
    ("1,2\n2,3\n", "diagnosis.table_no_header"),
    ("step,d_loss\n1,2\n2,high\n", "diagnosis.table_word"),
    ("step,d_loss\n1,2\n2,nan\n3,nan\n", "diagnosis.table_nan"),
    ("step,d_loss\n1,2\n2,nan\n3,2\n4,2\n", "diagnosis.table_nan"),
    ("step,d_loss\n1,nan\n2,NaN\n", "diagnosis.table_nan"),
    ("step,d_loss\n1,2\n2,inf\n3,-inf\n", "diagnosis.table_nan"),
    ('{"step": 1, "d_loss": 2}\n{"step": 2, "d_loss": NaN}\n', "diagnosis.table_nan"),
    ('{"step": 1\n', "diagnosis.no_table"),
    ("[1, 2]\n", "diagnosis.no_table"),
    ("step,d_loss\n1,\0\n", "diagnosis.no_table"),
]


@pytest.mark.parametrize(("text", "key"), REFUSED, ids=[repr(text)[:40] for text, _ in REFUSED])
def test_what_is_no_table_is_refused(text: str, key: str, tmp_path: Path) -> None:
    problem = refused(table(tmp_path, text))
    assert problem.key == key and str(tmp_path) in str(problem)


def test_the_row_where_numbers_broke_is_named(tmp_path: Path) -> None:
    problem = refused(table(tmp_path, "step,d_loss\n1,2\n2,1\n3,nan\n4,nan\n"))
    assert problem.fields["row"] == 3 and problem.fields["name"] == "d_loss" and problem.fields["rows"] == 4


def test_a_value_now_and_then_is_no_broken_number(tmp_path: Path) -> None:
    rows = [f"{i},{1 / (i + 1)},{50 - i if i % 5 == 0 else 'nan'}" for i in range(22)]
    found = read(table(tmp_path, "\n".join(["step,loss,fid", *rows])))
    assert found.columns["fid"].values.tolist() == [50, 45, 40, 35, 30]


def test_mistakes_in_what_was_typed(tmp_path: Path) -> None:
    path = table(tmp_path, "step,adversary\n1,2\n2,3\n")
    assert refused(path, critic="advesary").key == "diagnosis.column_theirs"
    assert "adversary" in str(refused(path, critic="advesary"))
    assert refused(path, critik="adversary").key == "diagnosis.column_ours"
    assert "critic/loss" in str(refused(path, critik="adversary"))


def test_files_that_are_none(tmp_path: Path) -> None:
    assert refused(tmp_path / "nosuch.csv").key == "diagnosis.missing"
    binary = tmp_path / "model.bin"
    binary.write_bytes(bytes(range(256)))
    assert refused(binary).key == "diagnosis.no_table"
