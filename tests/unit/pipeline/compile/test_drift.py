"""What has drifted is told by the place in the file."""

import pytest

from shipway.pipeline.compile.drift import drift

COMPILED = "# head\non:\n  push: {}\njobs:\n  unit:\n    needs:\n      - lint\n    timeout: 40\n"


@pytest.mark.parametrize(
    ("committed", "said"),
    [
        (COMPILED, []),
        (None, ["the file is not there"]),
        (COMPILED.replace("lint", "types"), ["jobs.unit.needs[0]: is 'types', and the pipeline says 'lint'"]),
        (COMPILED.replace("    timeout: 40\n", ""), ["jobs.unit.timeout: is missing in the file"]),
        (COMPILED + "  more: {}\n", ["jobs.more: is in the file, and not in the pipeline"]),
        (COMPILED.replace("40", "4_0"), ["jobs.unit.timeout: is '4_0', and the pipeline says '40'"]),
        (COMPILED.replace("# head", "# feet"), ["line 1: is '# feet', and the pipeline says '# head'"]),
        (COMPILED + "# end\n", ["the file has 9 lines, and the pipeline 8"]),
        (COMPILED.replace("\n", "\r\n"), ["line ends differ"]),
        ("{", ["line 1: is '{', and the pipeline says '# head'"]),
        ("", ["the file has 0 lines, and the pipeline 8"]),
    ],
)
def test_each_difference_is_named(committed: str | None, said: list[str]) -> None:
    assert drift(committed, COMPILED) == said


def test_a_file_of_another_pipeline_does_not_flood_the_screen() -> None:
    found = drift("\n".join(f"k{n}: 1" for n in range(40)), COMPILED)

    assert len(found) == 13
    assert found[-1] == "and 30 more"
