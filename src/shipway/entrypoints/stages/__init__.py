"""The built-in stages of pipelines, a module for each group.

Each module has `STAGES`, a tuple of `pipeline.builtins.Builtin`, and is found by being here. `builtin_stages` beside
this folder reads them all whenever a pipeline is listed or run, so a module imports nothing heavy: what does the work
is named as `"module:function"` and loaded when the stage runs.
"""
