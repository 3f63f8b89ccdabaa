"""The CI systems that a pipeline is compiled for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shipway.pipeline.compile.argo import compile_argo
from shipway.pipeline.compile.circleci import compile_circleci
from shipway.pipeline.compile.github import compile_github
from shipway.pipeline.compile.gitlab import compile_gitlab
from shipway.pipeline.compile.jenkins import compile_jenkins
from shipway.pipeline.compile.plan import CompilePlan


@dataclass(frozen=True, slots=True)
class Target:
    """One CI system: where its file is, relative to the repository's root, and how it is written."""

    path: str
    write: Callable[[CompilePlan], str]


def targets() -> Mapping[str, Target]:
    """Return the targets by the names that the command line knows."""
    return {
        "github": Target(".github/workflows/shipway.yml", compile_github),
        "argo": Target("argo.yaml", compile_argo),
        "circleci": Target(".circleci/config.yml", compile_circleci),
        "gitlab": Target(".gitlab-ci.yml", compile_gitlab),
        "jenkins": Target("Jenkinsfile", compile_jenkins),
    }
