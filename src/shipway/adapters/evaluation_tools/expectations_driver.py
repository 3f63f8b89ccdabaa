"""Validate cases with Great Expectations: `python -P expectations_driver.py JOB`, in its own environment.

`expectations` starts it. A job names a suite, the cases as rows and the file that gets the validation's result.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(job: dict[str, Any]) -> None:
    """Validate all rows with all expectations of the suite and write what Great Expectations says."""
    gx = import_module("great_expectations")
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    rows = import_module("pandas").DataFrame(job["rows"], columns=job["columns"], dtype=object)
    asset = context.data_sources.add_pandas("cases").add_dataframe_asset("cases")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    made = import_module("great_expectations.expectations.expectation_configuration").ExpectationConfiguration
    suite = gx.ExpectationSuite(name="suite")
    suite.add_expectation_configurations(
        [
            made(type=item["type"], kwargs=item.get("kwargs", {}), severity=item.get("severity", "critical"))
            for item in job["expectations"]
        ]
    )
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
    found = batch.validate(suite, result_format=form).to_json_dict()
    Path(job["out"]).write_text(
        json.dumps({"tool": "great_expectations", "schema": 1, "version": gx.__version__, "result": found}),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
