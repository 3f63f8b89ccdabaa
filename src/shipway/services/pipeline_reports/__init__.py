"""The reports of a pipeline run: what all its stages found, in the forms that people and CI systems read."""
