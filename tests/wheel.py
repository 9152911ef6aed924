"""Builds the wheel and tries it away from the checkout: files there, command there, base install light."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DAEMON_MODULES = ("numpy", "httpx", "pydantic", "uvicorn", "starlette", "yaml", "re2", "click", "rich", "obskit.watch")


def main() -> None:
    """Exit 0 when the wheel is whole, else say what is missing."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel = build(folder)
        print(f"{wheel.name}: {wheel.stat().st_size // 1024} KB")
        check_contents(wheel)
        check_base_install(wheel, folder)
        check_daemon(wheel, folder)


def build(folder: Path) -> Path:
    """The wheel, built with the project's own back end."""
    run([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], cwd=folder)
    return next(folder.glob("*.whl"))


def check_contents(wheel: Path) -> None:
    """Rule packs, types marker and collectors are inside; tests and examples are not."""
    names = zipfile.ZipFile(wheel).namelist()
    wanted = (
        "obskit/alert_rules/obskit.yaml",
        "obskit/py.typed",
        "obskit_collectors/prometheus.py",
        "obskit/cli/main.py",
    )
    missing = [name for name in wanted if name not in names]
    strays = [
        name for name in names if name.split("/")[0] not in ("obskit", "obskit_collectors") and ".dist-info" not in name
    ]
    assert not missing, f"not in the wheel: {missing}"
    assert not strays, f"should not be in the wheel: {strays}"


def check_base_install(wheel: Path, folder: Path) -> None:
    """Without extras, `import obskit` works and pulls nothing; the command says what is missing."""
    python = make_environment(folder / "base", [str(wheel)])
    code = f"import obskit, sys; bad = [m for m in {DAEMON_MODULES!r} if m in sys.modules]; assert not bad, bad"
    run([python, "-c", code], cwd=folder)
    command = [str(Path(python).parent / "obskit"), "--help"]
    said = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert said.returncode == 1, said
    assert "obskit-toolkit[watch]" in said.stderr, said


def check_daemon(wheel: Path, folder: Path) -> None:
    """With [watch], the command answers and finds its rule packs. Dependencies are borrowed from this environment."""
    site = subprocess.check_output(
        [sys.executable, "-c", "import site; print(site.getsitepackages()[0])"], text=True
    ).strip()
    python = make_environment(folder / "watch", ["--no-deps", str(wheel)])
    target = Path(
        subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    )
    borrowed = f"import sys; sys.path.append({site!r})"
    (target / "borrowed.pth").write_text(borrowed)
    command = Path(python).parent / "obskit"
    help_text = subprocess.check_output([str(command), "--help"], text=True, cwd=folder)
    assert "watch" in help_text, help_text
    config = folder / "obskit.yaml"
    config.write_text("collectors:\n  - host: {}\n")
    run([str(command), "check", str(config)], cwd=folder)
    where = subprocess.check_output([python, "-c", "import obskit; print(obskit.__file__)"], text=True, cwd=folder)
    assert where.startswith(str(folder)), f"the checkout was tested, not the wheel: {where}"


def make_environment(folder: Path, packages: list[str]) -> str:
    """A new virtual environment with these packages; the path of its python."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    run([python, "-m", "pip", "install", "--quiet", *packages], cwd=folder.parent)
    return python


def run(command: list[str], cwd: Path) -> None:
    """Run quietly; show everything when it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


if __name__ == "__main__":
    main()
