"""What a report says that it cannot say."""

from experiments.reporting.collection import collect
from experiments.reporting.missing import missing

NO_RUN = "In the paper's tables, with no run at all"
OTHER_PROFILE = "In the paper's tables, run only shorter or trained otherwise"


def found_in(*folders):
    return missing(collect(folders))


def test_cells_of_the_papers_tables(write_folder, tmp_path):
    found = found_in(
        write_folder(tmp_path / "paper", methods=["vanilla"], profile="paper"),
        write_folder(tmp_path / "quick"),
    )
    assert set(found) == {NO_RUN, OTHER_PROFILE}
    assert found[OTHER_PROFILE] == ["Single task (table 1), mnist, mlp: SWR."]
    assert found[NO_RUN][0] == "Single task (table 1), mnist, mlp: L2, L2 Init."
    assert found[NO_RUN][1] == (
        "Single task (table 1), cifar10, cnn: vanilla, L2, L2 Init, SWR."
    )
    assert len(found[NO_RUN]) == 10


def test_two_coefficients_fill_the_papers_cell(write_folder, tmp_path):
    found = found_in(
        write_folder(
            tmp_path / "run",
            dataset="tiny_imagenet",
            model="vgg16",
            methods=["swr_two"],
            seeds=1,
        )
    )
    line = "Single task (table 1), tiny_imagenet, vgg16: vanilla, L2, L2 Init."
    assert line in found[NO_RUN]


def test_other_coefficients_do_not_fill_the_papers_cell(write_folder, tmp_path):
    """One λ where the paper has two is none of its methods."""
    one = write_folder(
        tmp_path / "one",
        dataset="tiny_imagenet",
        model="vgg16",
        methods=["swr"],
        profile="paper",
        coefficients={"swr": 1e-3},
    )
    other = write_folder(
        tmp_path / "other",
        methods=["l2"],
        profile="paper",
        coefficients={"l2": 7.0},
    )
    found = found_in(one, other)
    line = "Single task (table 1), tiny_imagenet, vgg16: vanilla, L2, L2 Init, SWR."
    assert line in found[NO_RUN]
    assert found[OTHER_PROFILE] == ["Single task (table 1), mnist, mlp: L2."]


def test_runs_on_other_data(write_folder, tmp_path):
    """They have one setting, so that a report ranks them together."""
    fields = {"methods": ["swr"], "seeds": 1}
    one = write_folder(tmp_path / "one", data="aa", **fields)
    two = write_folder(tmp_path / "two", data="bb", first_seed=1, **fields)
    same = write_folder(tmp_path / "same", data="aa", first_seed=2, **fields)
    unknown = write_folder(tmp_path / "unknown", first_seed=3, **fields)
    assert found_in(one, two, same, unknown)["On other data"] == [
        f"{one} and {two} have one setting, and other images or labels (data in"
        " config.json): do not compare them."
    ]
    assert "On other data" not in found_in(one, same, unknown)


def test_runs_that_did_not_finish(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", seeds=3, methods=["swr", "l2"])
    path = folder / "metrics.csv"
    kept = [r for r in path.read_text().splitlines() if ",l2,2," not in r]
    path.write_text("\n".join(kept[:-1]))
    found = found_in(folder)
    (line,) = found["Not finished"]
    assert line == (
        "Single task, mnist, mlp, L2 (profile quick, 4 epochs a stage), in"
        f" {folder}: 1 of 3 seeds are finished; others have 3 of 4 evaluations;"
        " 1 left no row."
    )
    # A cell without a finished seed is not filled.
    path.write_text(kept[0])
    found = found_in(folder)
    assert len(found["Not finished"]) == 2
    assert "mnist, mlp: vanilla, L2, L2 Init, SWR." in found[NO_RUN][0]


def test_runs_made_twice(write_folder, tmp_path):
    old = write_folder(tmp_path / "old", written=1e9, methods=["swr"])
    new = write_folder(tmp_path / "new", written=2e9, methods=["swr"])
    (line,) = found_in(old, new)["Run twice"]
    assert line.index(str(old)) < line.index("gives way to") < line.index(str(new))


def test_folders_that_cannot_be_read(write_folder, tmp_path):
    whole = write_folder(tmp_path / "whole")
    broken = write_folder(tmp_path / "broken")
    (broken / "metrics.csv").write_text("no,table\n")
    (tmp_path / "empty").mkdir()
    assert found_in(whole, broken, tmp_path / "empty")["Not readable"] == [
        f"{broken / 'metrics.csv'} has no column 'protocol'",
        f"{tmp_path / 'empty'} has no config.json: make a run first, or name its"
        " folder",
    ]


def test_seeds_that_diverged(write_folder, tmp_path):
    fields = {"protocol": "slowly-changing-regression", "tasks": 3, "seeds": 2}
    folder = write_folder(tmp_path / "run", methods=["swr"], **fields)
    path = folder / "metrics.csv"
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    rows[-1][header.index("train_loss")] = "nan"
    path.write_text("\n".join(map(",".join, [header, *rows])))
    assert found_in(folder)["Diverged"] == [
        "Slowly changing regression, mnist, mlp, SWR (profile quick, 4 epochs a task),"
        f" in {folder}: 1 of 2 finished seeds."
    ]


def test_columns_and_fields_of_old_runs(write_folder, tmp_path):
    folder = write_folder(tmp_path / "run", methods=["swr"], seeds=1, epochs=1)
    (folder / "metrics.csv").write_text(
        "protocol,dataset,model,method,seed,stage,epoch,test_accuracy,weight_growth\n"
        "single-task,mnist,mlp,swr,0,1,1,0.9,1\n"
    )
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"profile"', '"color"'))
    assert found_in(folder)["Not measured"] == [
        f"{folder} has no columns for stream_accuracy, dead_units, effective_rank,"
        " growth of each layer.",
        f"{folder} does not record its profile.",
    ]


def test_another_optimizer_or_rate_does_not_cover_the_paper(write_folder, tmp_path):
    fields = {"profile": "paper", "methods": ["vanilla"], "learning_rate": 1e-3}
    cell = "Single task (table 1), mnist, mlp: vanilla."
    same = write_folder(tmp_path / "same", **fields)
    assert cell not in found_in(same).get(OTHER_PROFILE, [])
    for name, other in (
        ("sgd", {"optimizer": "sgd"}),
        ("slow", {"learning_rates": {"vanilla": 1e-4}}),
    ):
        folder = write_folder(tmp_path / name, **fields | other)
        assert cell in found_in(folder)[OTHER_PROFILE]
