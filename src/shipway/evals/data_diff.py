"""What changed between two versions of a dataset, case by case; `shipway dataset diff` shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from shipway.core.canonical import digest_json
from shipway.core.ids import Digest
from shipway.evals.model import Case, Dataset


@dataclass(frozen=True, slots=True)
class DatasetDiff:
    """Ids of cases, in id order; `changed` names the fields, `renamed` is the old id to the new one."""

    before: Digest
    after: Digest
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    renamed: Mapping[str, str]
    unchanged: int

    @property
    def same(self) -> bool:
        """Tell whether both are the same dataset."""
        return self.before == self.after


def diff(before: Dataset, after: Dataset) -> DatasetDiff:
    """Return what changed; a case with another id and nothing else different is renamed, not removed and added."""
    first, second = ({case.id: case for case in dataset.cases} for dataset in (before, after))
    gone = {_content(first[name]): name for name in sorted(first.keys() - second.keys(), reverse=True)}
    renamed: dict[str, str] = {}
    for name in sorted(second.keys() - first.keys()):
        old = gone.pop(_content(second[name]), None)
        if old is not None:
            renamed[old] = name
    both = sorted(first.keys() & second.keys())
    changed = {name: fields for name in both if (fields := _changed(first[name], second[name]))}
    return DatasetDiff(
        before.digest,
        after.digest,
        tuple(sorted(second.keys() - first.keys() - set(renamed.values()))),
        tuple(sorted(first.keys() - second.keys() - renamed.keys())),
        changed,
        renamed,
        len(both) - len(changed),
    )


def _content(case: Case) -> Digest:
    return digest_json({name: value for name, value in case.to_dict().items() if name != "id"})


def _changed(before: Case, after: Case) -> tuple[str, ...]:
    first, second = before.to_dict(), after.to_dict()
    return tuple(name for name in sorted({*first, *second}) if first.get(name) != second.get(name))
