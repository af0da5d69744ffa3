"""Writes the table of a comparison into a page.

    table.py PAGE <REPORT

REPORT has lines `subject TAB story TAB result`; other lines are left out. In PAGE the lines between `<!-- table -->` and
`<!-- end -->` become the table, with the versions and the date. What all subjects do alike stands in the table too.
"""

import datetime
import sys

BEGIN, END = "<!-- table -->", "<!-- end -->"


def read(lines):
    """Subjects and stories, as they came, and the result of each pair."""
    rows = [line.rstrip("\n").split("\t") for line in lines]
    rows = [row for row in rows if len(row) == 3]
    results = {(subject, story): result for subject, story, result in rows}
    subjects, stories = (list(dict.fromkeys(row[i] for row in rows)) for i in (0, 1))
    return subjects, stories, results


def table(subjects, stories, results):
    """In Markdown."""
    cell = lambda text: text.replace("|", "\\|").replace("\\.", "\\\\.").replace("\\000", "\\\\000")
    heads = [f"{subject} {results[subject, 'version']}" for subject in subjects]
    lines = ["| story | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for story in stories:
        if story != "version":
            cells = [cell(results.get((subject, story), "-")) for subject in subjects]
            lines.append(f"| {cell(story)} | " + " | ".join(cells) + " |")
    day = datetime.datetime.now(datetime.timezone.utc).date()
    return [f"Measured on {day} by `tests/compare.sh --write`.", "", *lines]


def main():
    """Puts the new table in the place of the old."""
    subjects, stories, results = read(sys.stdin)
    if not stories:
        sys.exit("there is nothing to write")
    with open(sys.argv[1], encoding="utf-8") as page:
        before, rest = page.read().split(BEGIN)
    after = rest.split(END)[1]
    with open(sys.argv[1], "w", encoding="utf-8") as page:
        page.write("\n".join([before + BEGIN, *table(subjects, stories, results), END + after]))


main()
