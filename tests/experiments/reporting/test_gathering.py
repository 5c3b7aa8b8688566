"""The report's files."""

import pytest

from experiments.errors import UserError
from experiments.reporting.gathering import write_report


def test_both_files_have_every_run(write_folder, tmp_path):
    runs = [
        write_folder(tmp_path / "one"),
        write_folder(tmp_path / "two", protocol="proportionality"),
    ]
    page, tables = write_report(tmp_path / "deep" / "out", [*runs, runs[0]])
    assert page == tmp_path / "deep" / "out" / "report.html"
    assert tables == tmp_path / "deep" / "out" / "report.md"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "report.html",
        "report.md",
    ]
    for path in (page, tables):
        text = path.read_text(encoding="utf-8")
        assert "Proportionality" in text
        assert "Single task" in text
        assert "83%" in text
        assert "Run twice" not in text


def test_it_is_the_same_every_time(write_folder, tmp_path):
    run = write_folder(tmp_path / "run")
    one = [path.read_bytes() for path in write_report(tmp_path / "one", [run])]
    two = [path.read_bytes() for path in write_report(tmp_path / "two", [run])]
    assert one == two


def test_a_broken_run_leaves_the_old_report(write_folder, tmp_path):
    run = write_folder(tmp_path / "run")
    files = write_report(tmp_path / "out", [run])
    kept = [path.read_bytes() for path in files]
    broken = write_folder(tmp_path / "broken")
    (broken / "metrics.csv").write_text("no,table\n")
    with pytest.raises(UserError, match=r"has no column 'protocol'"):
        write_report(tmp_path / "out", [run, broken])
    assert [path.read_bytes() for path in files] == kept
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_mistakes_are_named(write_folder, tmp_path):
    with pytest.raises(UserError, match=r"no runs: name at least one folder"):
        write_report(tmp_path / "out", [])
    (tmp_path / "file").write_text("")
    run = write_folder(tmp_path / "run")
    with pytest.raises(UserError, match=r"cannot write to .*file/out: Not a directory"):
        write_report(tmp_path / "file" / "out", [run])
    assert not (tmp_path / "out").exists()
