from pathlib import Path

from headhunt.analysis.columns import columns_markdown

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_describes_the_columns_in_the_records_own_words():
    readme = README.read_text(encoding="utf-8")

    assert "<!-- columns -->" in readme, "README.md needs the markers <!-- columns --> and its end"
    shown = readme.split("<!-- columns -->")[1].split("<!-- /columns -->")[0]

    # To bring it up to date: python -c "from headhunt.analysis.columns import *;
    # print(columns_markdown())", pasted between the markers.
    assert shown.strip() == columns_markdown()
