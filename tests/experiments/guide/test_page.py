"""The guide says what the code says."""

import re

from PIL import Image
import pytest

from experiments.errors import UserError
from experiments.guide.page import PAGE, with_blocks, write_guide

TEXT = PAGE.read_text(encoding="utf-8")
PICTURES = set(re.findall(r"!\[.+?\]\((.+?)\)", TEXT))


def test_the_page_is_what_the_code_generates_now():
    found = with_blocks(TEXT)
    assert found == TEXT, "run swr-experiments guide"


def test_what_is_stale_is_replaced():
    stale = TEXT.replace("RescalingPlan", "Plan").replace("Degrees add.", "They do.")
    assert stale != TEXT
    assert with_blocks(stale) == TEXT


def test_its_rules_are_the_librarys():
    assert "| `div` | Degrees subtract. |" in TEXT
    assert "`integer_pow`, `cholesky` | Degree times a fixed exponent" in TEXT


def test_the_guide_is_written_whole(tmp_path):
    page, *pictures = write_guide(tmp_path / "deep" / "guide")
    assert page.read_text(encoding="utf-8") == TEXT
    assert {str(path.relative_to(page.parent)) for path in pictures} == PICTURES
    for path in pictures:
        committed = PAGE.parent / path.relative_to(page.parent)
        assert max(path.stat().st_size, committed.stat().st_size) < 150_000
        with Image.open(path) as new, Image.open(committed) as old:
            assert new.size == old.size


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file: "):
        write_guide(tmp_path / "file")
