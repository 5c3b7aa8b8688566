"""Names of protocols, methods, measures and entries."""

import pandas as pd
import pytest

from experiments.reporting import naming


def test_methods():
    assert naming.label("vanilla") == "vanilla"
    assert naming.label("swr") == "SWR"
    assert naming.label("my_method") == "my_method"


@pytest.mark.parametrize("protocol", naming.KNOWN)
def test_every_protocol_has_its_names(protocol):
    assert naming.title(protocol)
    assert naming.score_in_words(protocol).startswith(naming.measure(protocol))


def test_only_the_regression_is_better_if_lower():
    lower = [name for name in naming.KNOWN if naming.lower_is_better(name)]
    assert lower == ["slowly-changing-regression"]
    assert naming.measure("slowly-changing-regression") == "mean squared error"


def test_entries_take_what_tells_them_apart():
    rows = [
        ("swr", "0.1", "1"),
        ("swr", "0.2", "1"),
        ("l2", "3", "1"),
        ("l2", "3", "2"),
        ("vanilla", "", "1"),
    ]
    assert naming.names(pd.DataFrame(rows, columns=naming.ENTRY)) == [
        *("SWR (λ 0.1)", "SWR (λ 0.2)", "L2 (rate 1)", "L2 (rate 2)", "vanilla")
    ]
