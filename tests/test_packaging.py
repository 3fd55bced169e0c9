"""The wheel that a user installs, in an environment where the repository is out of sight."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
FOLDERS = ("spaces", "stores", "trainables", "search", "analysis")
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", *FOLDERS)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no old build lies about and none is left."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in BUILT_FROM:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, source / name)
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    pip(sys.executable, *build, "--wheel-dir", built, source)
    return next(built.glob("headhunt-*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh environment with the wheel in it; what it depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    own = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    pip(sys.executable, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # A plain entry: the .pth files in the borrowed folder, the editable install's too, stay unread.
    Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def pip(python, *words):
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *words], check=True)


def in_environment(folder, *words, cwd):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "HEADHUNT"))}
    return subprocess.run(
        [folder / "bin" / words[0], *words[1:]],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean,
        check=False,
    )


def data_files():
    """What the report's page is made of."""
    folder = REPOSITORY / "analysis" / "templates"
    return {f"headhunt/{file.relative_to(REPOSITORY)}" for file in folder.iterdir()}


def source_files():
    return {
        f"headhunt/{file.relative_to(REPOSITORY)}"
        for folder in FOLDERS
        for file in (REPOSITORY / folder).rglob("*.py")
    }


def test_every_module_of_the_repository_is_in_the_wheel_with_the_reports_page_and_nothing_else(
    wheel,
):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert packed == source_files() | data_files()


def test_the_wheel_claims_the_name_headhunt_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"headhunt"}


def test_headhunt_runs_from_the_wheel_in_a_fresh_environment(environment, tmp_path):
    ended = in_environment(environment, "headhunt", "--help", cwd=tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "search" in ended.stdout


def test_every_module_is_imported_from_the_wheel_and_none_from_the_repository(
    environment, tmp_path
):
    modules = sorted(
        name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        for name in source_files()
    )
    imports = "".join(f"import {module}\n" for module in modules)
    ours = "{m.__file__ for n, m in sys.modules.items() if n.startswith('headhunt.')}"

    ended = in_environment(
        environment, "python", "-c", f"{imports}import sys\nprint(*{ours})", cwd=tmp_path
    )

    assert ended.returncode == 0, ended.stderr
    places = ended.stdout.split()
    assert len(places) == len(modules)
    assert all(place.startswith(f"{environment}/lib") for place in places)


# What an extra brings is imported by these files alone; where it is missing, they name the extra.
OPTIONAL = {
    "dashboard": {"search/dashboard.py"},
    "mlflow": {"analysis/to_mlflow.py"},
    "tensorboard": {"analysis/to_tensorboard.py"},
    "figures": {"analysis/report.py"},
    "postgresql": {"stores/address.py", "stores/postgresql.py", "stores/held_postgresql.py"},
}


def test_every_package_that_is_imported_is_one_that_the_project_asks_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    always = names_of(project["dependencies"])
    brought_by = {
        name: {package.lower() for package in packages}
        for name, packages in packages_distributions().items()
    }

    for file, packages in imported().items():
        extras = [extra for extra, files in OPTIONAL.items() if file in files]
        more = [names_of(project["optional-dependencies"][extra]) for extra in extras]
        asked_for = always.union(*more)
        others = packages - {"headhunt", *sys.stdlib_module_names}
        unasked = {name for name in others if asked_for.isdisjoint(brought_by.get(name, ()))}
        assert unasked == set(), file


def names_of(dependencies):
    return {re.split(r"[<>=\[ ]", told)[0].lower() for told in dependencies}


def imported():
    """The packages that each file imports by name, inside functions too."""
    found = {}
    for file in (f for folder in FOLDERS for f in (REPOSITORY / folder).rglob("*.py")):
        names = found.setdefault(str(file.relative_to(REPOSITORY)), set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return found
