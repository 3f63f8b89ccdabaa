import os
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.canonical import digest_bytes
from shipway.core.clock import ManualClock
from shipway.core.errors import ConfigError, DatasetError, IntegrityError, NotFoundError, UsageError
from shipway.registry.model import Release
from shipway.services.application import Application, Workspace
from shipway.services.releases import (
    CreatedRelease,
    ReleaseParts,
    compare_releases,
    create_release,
    verified_blob,
)

PROJECT = """\
app: shop
code:
  paths: ["app/**"]
models:
  small:
    engine: llamacpp
    model: tiny
    threads: 1
  big:
    engine: openai
    model: large
    base_url: https://engine.example/v1
    api_key: {env: ENGINE_KEY}
    price: {input: 1.0}
prompts:
  answer: prompts/answer.yaml
routes:
  ask: {kind: rag, model: small, prompt: answer}
corpus:
  sources:
    - {path: "*", tenant: t, groups: [public]}
rates: {per_key_min: 10}
server: {port: 0}
decoding: {temperature: 0.5, seed: 1}
"""


@dataclass
class FakeParts:
    """A commit, weights, prompts and a corpus as the test wants them."""

    head_is: tuple[str, bool] | None = ("c0ffee", False)
    weights: dict[str, str] = field(default_factory=lambda: {"tiny": digest_bytes(b"weights")})
    manifest: str = digest_bytes(b"corpus")
    refused: bytes = b"not a prompt"

    async def head(self, root: Path) -> tuple[str, bool] | None:
        return self.head_is

    def digest(self, model: str, root: Path) -> str:
        if model not in self.weights:
            raise NotFoundError(f"no model {model!r}")
        return self.weights[model]

    def check(self, data: bytes, shown_as: str) -> None:
        if data == self.refused:
            raise ConfigError([f"{shown_as}:1: system: required key is missing"])

    async def current(self, app: Application) -> dict[str, object]:
        return {"manifest": self.manifest, "documents": 3, "chunks": 7}

    def all(self) -> ReleaseParts:
        return ReleaseParts(self, self, self, self)


def write_tree(root: Path, project: str = PROJECT) -> Path:
    for name, text in {
        "shipway.yaml": project,
        "prompts/answer.yaml": "system: be kind\n",
        "app/main.py": "print('hello')\n",
        "app/sub/café.txt": "crème\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def application(root: Path, store: MemoryStore | None = None) -> Application:
    return Application(load_project(root, {}), Workspace(root), store or MemoryStore(), ManualClock(), "user:test")


async def made(root: Path, parts: FakeParts | None = None, store: MemoryStore | None = None) -> CreatedRelease:
    return await create_release(application(root, store), (parts or FakeParts()).all())


def release(root: Path, parts: FakeParts | None = None) -> Release:
    return anyio.run(made, root, parts).release


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "project")


class TestTheSameInputs:
    SCRIPT = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[2], 8))
sys.path.insert(0, sys.argv[3])
import test_releases
print(test_releases.release(Path(sys.argv[1])).id)
"""

    def id_in_a_process(self, root: Path, *, umask: str = "022", **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", self.SCRIPT, str(root), umask, str(Path(__file__).parent)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environ},
            cwd=root.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def test_another_machine_makes_the_same_id(self, tree, tmp_path):
        expected = release(tree).id
        copy = tmp_path / "else where" / "ünïcode"
        shutil.copytree(tree, copy)
        for path in copy.rglob("*"):
            os.utime(path, (1, 1))
            path.chmod(0o700)

        ids = {
            self.id_in_a_process(copy, PYTHONHASHSEED="1", TZ="Asia/Kolkata", LC_ALL="C"),
            self.id_in_a_process(copy, umask="077", PYTHONHASHSEED="2", TZ="America/St_Johns", LC_ALL="tr_TR.UTF-8"),
            self.id_in_a_process(
                tree, umask="000", PYTHONHASHSEED="3", HOME="/nonexistent", PYTHONUTF8="0", LC_ALL="C.UTF-8"
            ),
        }

        assert ids == {expected}

    def test_key_order_comments_and_quotes_of_the_project_file_do_not_matter(self, tree, tmp_path):
        sections = (
            PROJECT.replace("app: shop", "'app': \"shop\"  # ours").replace("0.5", "5.0e-1").splitlines(keepends=True)
        )
        moved = "".join(sections[3:] + sections[:3])

        other = release(write_tree(tmp_path / "other", "# a comment\n\n" + moved))

        assert other.id == release(tree).id

    def test_a_default_that_is_written_out_does_not_matter(self, tree, tmp_path):
        other = release(write_tree(tmp_path / "other", PROJECT + "budgets: {max_new: 512}\n"))

        assert other.id == release(tree).id

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("engine.example", "other.example"),
            ("ENGINE_KEY", "OTHER_KEY"),
            ("input: 1.0", "input: 2.5, output: 9"),
            ("threads: 1", "threads: 7"),
            ("per_key_min: 10", "per_key_min: 99"),
            ("server: {port: 0}", "server: {port: 8080, workers: 2}"),
        ],
    )
    def test_what_is_an_environments_own_business_does_not_matter(self, tree, tmp_path, before, after):
        other = release(write_tree(tmp_path / "other", PROJECT.replace(before, after)))

        assert other.id == release(tree).id

    def test_commit_author_and_message_stand_beside_the_id(self, tree):
        one = release(tree, FakeParts(head_is=("a" * 40, True)))
        two = release(tree, FakeParts(head_is=None))

        assert one.id == two.id
        assert (one.provenance.commit, one.provenance.dirty) == ("a" * 40, True)
        assert two.provenance.commit is None

    def test_the_unicode_form_of_a_file_name_does_not_matter_and_adding_it_again_is_no_conflict(self, tree, tmp_path):
        async def both() -> tuple[CreatedRelease, CreatedRelease]:
            store = MemoryStore()
            return await made(tree, store=store), await made(decomposed, store=store)

        decomposed = write_tree(tmp_path / "other")
        name = "app/sub/café.txt"
        (decomposed / name).rename(decomposed / unicodedata.normalize("NFD", name))

        one, two = anyio.run(both)

        assert one.release.id == two.release.id
        assert (one.is_new, two.is_new) == (True, False)
        assert name in two.release.manifest["code"]["files"]

    def test_what_python_and_shipway_leave_in_the_folder_is_no_code(self, tree):
        before = release(tree).id
        for name in ("app/__pycache__/main.pyc", "app/.shipway/state.db", "app/.git/HEAD"):
            (tree / name).parent.mkdir()
            (tree / name).write_text("x")

        assert release(tree).id == before


class TestAChange:
    def parts_changed(self, tree: Path, change: "str | FakeParts", name: str = "") -> tuple[str, ...]:
        async def run() -> tuple[str, ...]:
            store = MemoryStore()
            before = (await made(tree, store=store)).release
            if isinstance(change, str):
                path = tree / name
                path.write_bytes(change.encode())
            after = (await made(tree, change if isinstance(change, FakeParts) else None, store)).release
            assert before.id != after.id
            return (await compare_releases(application(tree, store), before.id, after.id)).parts

        return anyio.run(run)

    def test_of_a_code_file_changes_code_alone(self, tree):
        assert self.parts_changed(tree, "print('hellp')\n", "app/main.py") == ("code",)

    def test_of_line_ends_is_a_change_because_bytes_count(self, tree):
        assert self.parts_changed(tree, "print('hello')\r\n", "app/main.py") == ("code",)

    def test_of_a_file_name_is_a_change(self, tree):
        assert self.parts_changed(tree, "", "app/empty.py") == ("code",)

    def test_of_a_prompt_changes_the_prompt_alone(self, tree):
        assert self.parts_changed(tree, "system: be kinD\n", "prompts/answer.yaml") == ("prompt",)

    def test_of_a_comment_in_a_prompt_is_a_change_because_bytes_count(self, tree):
        assert self.parts_changed(tree, "system: be kind\n# why\n", "prompts/answer.yaml") == ("prompt",)

    def test_of_the_weights_changes_the_model_alone(self, tree):
        assert self.parts_changed(tree, FakeParts(weights={"tiny": digest_bytes(b"other")})) == ("model",)

    def test_of_the_corpus_changes_data_alone(self, tree):
        assert self.parts_changed(tree, FakeParts(manifest=digest_bytes(b"other"))) == ("data",)

    @pytest.mark.parametrize(
        ("before", "after", "part"),
        [
            ("temperature: 0.5", "temperature: 0.6", "policy"),
            ("seed: 1", "seed: 2", "policy"),
            ("ask: {", "ask: {timeout_s: 9, ", "policy"),
            ("model: tiny", "model: tiny\n    max_ctx: 4096", "model"),
            ("engine: llamacpp", "engine: echo", "model"),
        ],
    )
    def test_of_a_setting_changes_its_part_alone(self, tree, before, after, part):
        assert self.parts_changed(tree, PROJECT.replace(before, after), "shipway.yaml") == (part,)


class TestMaking:
    def test_the_same_content_twice_is_one_release_and_one_audit_event(self, tree):
        async def run() -> None:
            store = MemoryStore()
            first, second = await made(tree, store=store), await made(tree, store=store)
            events = await store.audit.entries()

            assert (first.is_new, second.is_new) == (True, False)
            assert [(event.action, event.subject, event.actor) for event in events] == [
                ("release.created", first.release.id, "user:test")
            ]

        anyio.run(run)

    def test_every_file_a_release_names_is_in_the_store(self, tree):
        async def run() -> None:
            app = application(tree)
            manifest = (await create_release(app, FakeParts().all())).release.manifest

            for digest in [*manifest["code"]["files"].values(), manifest["prompts"]["answer"]["digest"]]:
                assert digest_bytes(await app.state.blobs.get(digest)) == digest

        anyio.run(run)

    def test_a_blob_that_is_gone_says_what_it_was(self, tree):
        async def run() -> None:
            await verified_blob(application(tree), digest_bytes(b"gone"), "release rel_x: app/main.py")

        with pytest.raises(
            IntegrityError, match=r"release rel_x: app/main\.py: its content sha256:.* is not in the store"
        ):
            anyio.run(run)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (("app/**", "lib/**"), NotFoundError, r"code\.paths: 'lib/\*\*' matches no file"),
            (("app/**", "app"), NotFoundError, r"'app' matches no file in the project\n  .* write app/\*\*"),
            (("app/**", "/etc/*"), UsageError, r"'/etc/\*' is not a glob relative to the project"),
            (("app/**", ""), UsageError, r"'' is not a glob"),
            (("app/**", "../outside.py"), UsageError, r"leads out of the project"),
            (
                ("prompts/answer.yaml", "prompts/gone.yaml"),
                NotFoundError,
                r"prompts\.answer: prompts/gone\.yaml: no such",
            ),
            (("prompts/answer.yaml", "prompts"), UsageError, r"prompts\.answer: prompts is a folder"),
            (("prompts/answer.yaml", "../outside.py"), UsageError, r"prompts\.answer: \.\./outside\.py leads out"),
            (("model: tiny", "model: huge"), NotFoundError, "no model 'huge'"),
        ],
    )
    def test_what_cannot_be_part_of_a_release_is_named(self, tree, change, error, message):
        (tree.parent / "outside.py").write_text("x")
        (tree / "shipway.yaml").write_text(PROJECT.replace(*change))

        with pytest.raises(error, match=message):
            release(tree)

    def test_a_link_out_of_the_project_is_refused(self, tree):
        (tree.parent / "outside.py").write_text("x")
        (tree / "app" / "link.py").symlink_to(tree.parent / "outside.py")

        with pytest.raises(UsageError, match=r"app/link\.py leads out of the project"):
            release(tree)

    def test_a_file_too_large_to_be_code_is_refused(self, tree):
        with (tree / "app" / "data.bin").open("wb") as data:
            data.truncate(5_000_001)

        with pytest.raises(UsageError, match=r"app/data\.bin is larger than 5 MB; leave data out of code"):
            release(tree)

    def test_two_names_that_differ_only_in_unicode_form_are_refused(self, tree):
        (tree / "app" / "sub" / unicodedata.normalize("NFD", "café.txt")).write_text("other")

        with pytest.raises(UsageError, match=r"two files are 'app/sub/café\.txt'"):
            release(tree)

    def test_a_name_that_is_no_text_is_refused(self, tree):
        os.close(os.open(os.fsencode(tree) + b"/app/\xff.py", os.O_CREAT))

        with pytest.raises(UsageError, match="is not UTF-8; rename the file"):
            release(tree)

    def refused(self, tree: Path, error: type[Exception]) -> str:
        """Return why no release is made, after a look at the store that must have stayed empty."""

        async def run() -> str:
            store = MemoryStore()
            with pytest.raises(error) as caught:
                await made(tree, store=store)
            assert await store.audit.entries() == []
            assert await store.documents.list("release") == []
            return str(caught.value)

        return anyio.run(run)

    def test_a_malformed_prompt_stops_the_release_before_anything_is_stored(self, tree):
        (tree / "prompts" / "answer.yaml").write_bytes(FakeParts.refused)

        assert "prompts/answer.yaml:1: system" in self.refused(tree, ConfigError)

    def test_a_credential_in_a_prompt_stops_the_release_and_is_not_repeated(self, tree):
        secret = "sk-proj-" + "Zq3" * 12
        (tree / "prompts" / "answer.yaml").write_text(f"system: be kind\nuser: my key is {secret}\n")

        said = self.refused(tree, ConfigError)

        assert "prompts/answer.yaml:2: this looks like a credential in clear text" in said
        assert secret not in said

    @pytest.mark.parametrize(
        ("cases", "said"),
        [
            ('{"id": "a", "question": "A?"}\n{oops\n', "evals/cases.jsonl:2: not JSON"),
            (
                '{"id": "a", "question": "A?"}\n{"id": "a", "question": "B?"}\n',
                "evals/cases.jsonl:2: id: 'a' is already",
            ),
            (None, "evals.dataset: evals/cases.jsonl: no such file"),
        ],
        ids=["no JSON", "a double id", "no file"],
    )
    def test_cases_that_could_not_judge_the_release_stop_it(self, tree, cases, said):
        (tree / "shipway.yaml").write_text(PROJECT + "gates: [{metric: correct, min: 0.5}]\n")
        if cases is not None:
            (tree / "evals").mkdir()
            (tree / "evals" / "cases.jsonl").write_text(cases)

        assert said in self.refused(tree, DatasetError)
