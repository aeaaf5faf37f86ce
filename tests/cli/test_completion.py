"""The TAB key: commands, options, bundled configs and models, in bash and zsh themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bgp4.cli.main import app
from bgp4.storage.bundled import bundled_configs, bundled_models

COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}

BASH = """
source <(bgp4 --show-completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_bgp4_completion bgp4
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
autoload -Uz compinit; compinit -u -d dump
source =(bgp4 --show-completion zsh)
# What would be offered, and not a menu of it.
function compadd() {
  local -a found; builtin compadd -O found "$@" 2>/dev/null; print -rl -- $found >> offered
  builtin compadd "$@"
}
bindkey '^I' complete-word; zstyle ':completion:*' list-prompt ''
PROMPT='ready>'
"""


@pytest.fixture
def folder(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a config and a run of the user's, and `bgp4` on the path."""
    (in_tmp / "my.yaml").touch()
    (in_tmp / "my.pdb").touch()
    (in_tmp / "runs" / "my").mkdir(parents=True)
    (in_tmp / "runs" / "my" / "config.yaml").touch()
    (in_tmp / "bin").mkdir()
    script = in_tmp / "bin" / "bgp4"
    script.write_text(f"#!{sys.executable}\nfrom bgp4.cli.main import main\nmain()\n")
    script.chmod(0o755)
    package = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PATH", f"{in_tmp / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package, inherited])))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    return in_tmp


def in_bash(*words: str) -> set[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", *words], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return set(done.stdout.split())


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")


@needs_bash
def test_bash_offers_commands_and_options(folder) -> None:
    assert in_bash("bgp4", "") == COMMANDS
    assert in_bash("bgp4", "si") == {"simulate"}
    assert {"--config", "--run", "--resume", "--set"} < in_bash("bgp4", "train", "--")


@needs_bash
def test_bash_offers_configs_and_runs(folder) -> None:
    configs = in_bash("bgp4", "train", "--config", "")
    assert configs == {*bundled_configs(), "my.yaml", "runs/", "bin/"}
    assert in_bash("bgp4", "simulate", "--config", "my") == {"my.yaml"}
    assert in_bash("bgp4", "sample", "") == {*bundled_models(), "runs/", "bin/"}
    assert in_bash("bgp4", "sample", "runs/") == {"runs/my"}
    assert in_bash("bgp4", "report", "ala2", "runs/m") == {"runs/my"}
    assert in_bash("bgp4", "bench", "s") == {"simulation", "sampling"}
    assert in_bash("bgp4", "train", "--device", "c") == {"cpu", "cuda"}


def in_zsh(folder: Path, typed: str) -> set[str]:
    """What zsh offers after this line and TAB, in a terminal of its own (zpty)."""
    (folder / ".zshrc").write_text(ZSH)
    (folder / "offered").unlink(missing_ok=True)
    outer = (
        "zmodload zsh/zpty; zpty z zsh -i; zpty -r z out '*ready>*'; "
        f"zpty -w -n z '{typed}'$'\\t'; "
        "for i in {1..100}; do sleep 0.1; [[ -s offered ]] && break; done; sleep 0.3; zpty -d z"
    )
    env = {**os.environ, "ZDOTDIR": str(folder), "TERM": "dumb"}
    subprocess.run(["zsh", "-f", "-c", outer], cwd=folder, env=env, check=True, timeout=60)
    return set((folder / "offered").read_text().split())


@needs_zsh
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("bgp4 ", COMMANDS),
        ("bgp4 train --config ", {*bundled_configs(), "my.yaml"}),
        ("bgp4 sample ", {*bundled_models()}),
        ("bgp4 train --", {"--config", "--resume", "--tensorboard"}),
    ],
)
def test_zsh_offers_the_same(folder, typed: str, offered: set[str]) -> None:
    assert offered <= in_zsh(folder, typed)


@needs_bash
def test_installing_it(folder, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    done = subprocess.run(
        ["bgp4", "--install-completion", "bash"], capture_output=True, text=True, check=True
    )
    assert "bash completion installed" in done.stdout
    assert list(folder.glob(".bash_completions/bgp4.sh"))
    assert "bgp4.sh" in (folder / ".bashrc").read_text()
