"""Reads manifests with Hera's models of Argo Workflows and prints what they do not know; run by Hera's interpreter."""

import json
import sys
from pathlib import Path

import yaml
from hera.workflows import models


def unknown(given, read, path):
    """Yield the keys of a document that the models passed over."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key in read:
                yield from unknown(value, read[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}: unknown"
    elif isinstance(given, list) and isinstance(read, list):
        for index, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from unknown(one, other, f"{path}[{index}]")


def problems(file):
    for document in yaml.safe_load_all(Path(file).read_text(encoding="utf-8")):
        try:
            model = getattr(models, document["kind"]).model_validate(document)
        except ValueError as error:
            yield f"{file}: {error}"
            continue
        yield from unknown(document, model.model_dump(mode="json", by_alias=True, exclude_unset=True), file)


sys.stdout.write(json.dumps([problem for file in sys.argv[1:] for problem in problems(file)]))
