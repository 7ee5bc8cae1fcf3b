import json
import os
import signal
import subprocess
import sys
import warnings

import pytest
from processes import ROOT, arguments

from vjax.runtime import memory

CLEAN = {name: value for name, value in os.environ.items() if name not in (memory.TUNABLES, memory.ONCE)}
HAS_GLIBC = memory._has_glibc()
needs_glibc = pytest.mark.skipif(not HAS_GLIBC, reason="the C library is not glibc")

# A command: it notes that it starts, restarts, and shows what it then is.
SCRIPT = """
import json, os, sys
from vjax.runtime.memory import restart_with_tunables
with open("starts", "a") as file:
    print(os.getpid(), file=file)
restart_with_tunables()
assert "jax" not in sys.modules
shown = [sys.argv[1:], os.getcwd(), dict(os.environ), sys.stdin.read(), os.getpid(), sys.flags.utf8_mode]
print(json.dumps(shown))
sys.exit(7)
"""


def start(folder, *words, front=(), stdin="", **environment):
    """Runs SCRIPT in a folder; returns the finished process and the ids of the processes that it was."""
    (folder / "a script.py").write_text(SCRIPT)
    env = CLEAN | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(
        [sys.executable, *front, "a script.py", *words],
        cwd=folder,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done.stderr
    return json.loads(done.stdout), (folder / "starts").read_text().split()


@needs_glibc
def test_a_command_restarts_once_and_stays_what_it_was(tmp_path):
    words = ["--a=b c", "", "ä", "*", "'"]
    shown, starts = start(tmp_path, *words, front=["-X", "utf8"], stdin="typed", MINE="1")
    argv, cwd, environment, stdin, pid, utf8 = shown
    assert starts == [str(pid), str(pid)]
    assert argv == words
    assert cwd == str(tmp_path)
    assert (stdin, utf8) == ("typed", 1)
    assert environment["MINE"] == "1"
    assert memory.is_set(environment)


@needs_glibc
def test_settings_of_the_user_are_kept_and_completed(tmp_path):
    given = "glibc.malloc.arena_max=3:glibc.pthread.rseq=0"
    (_, _, environment, *_), starts = start(tmp_path, GLIBC_TUNABLES=given)
    found = environment[memory.TUNABLES]
    assert found.startswith(given)
    assert found.count("arena_max") == 1
    assert "glibc.malloc.trim_threshold=" in found
    assert len(starts) == 2


@pytest.mark.parametrize(
    "environment", [{"GLIBC_TUNABLES": memory.complete_tunables("")}, {"VJAX_RESTART": "0"}], ids=["set", "refused"]
)
def test_nothing_restarts_that_need_not_or_may_not(tmp_path, environment):
    (_, _, found, *_), starts = start(tmp_path, **environment)
    assert len(starts) == 1
    assert found.get("GLIBC_TUNABLES") == environment.get("GLIBC_TUNABLES")


@needs_glibc
@pytest.mark.parametrize(
    "before",
    [
        "",  # python -c runs no file
        "import __main__; __main__.__file__ = 'x'; import threading; threading.Timer(0.5, print).start()",
        "import __main__; __main__.__file__ = 'x'; sys.settrace(lambda *_: None)",
        "import __main__; __main__.__file__ = 'x'; sys.modules['jax'] = sys",
    ],
    ids=["no file", "threads", "debugger", "jax"],
)
def test_what_cannot_start_again_does_not(before):
    restart = "from vjax.runtime import memory\nmemory.restart_with_tunables()"
    code = f"import os, sys\n{before}\n{restart}\nprint(len(os.environ))"
    code = code.replace("len(os.environ)", "os.environ.get('GLIBC_TUNABLES')")
    done = subprocess.run([sys.executable, "-c", code], env=CLEAN, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "None"


@needs_glibc
def test_commands_restart_before_they_import_jax(tmp_path):
    """Each of the three ways to start one, seen by an `execve` that does not come back."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def execve(path, argv, environment):\n"
        "    print(argv[1:], 'jax' in sys.modules, 'GLIBC_TUNABLES' in environment)\n"
        "    sys.stdout.flush()\n"
        "    os._exit(0)\n"
        "os.execve = execve\n"
    )
    script = tmp_path / "vjax"  # as pip writes it
    script.write_text("import sys\nfrom vjax.start import main\nif __name__ == '__main__':\n    sys.exit(main())\n")
    for words in (["train.py", "--help"], ["-m", "vjax", "--help"], [str(script), "--help"]):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=CLEAN | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{words} False True\n"


@needs_glibc
def test_worker_processes_inherit_the_settings(tmp_path):
    code = (
        "import concurrent.futures, multiprocessing, os\n"
        "from vjax.runtime.memory import restart_with_tunables\n"
        "if __name__ == '__main__':\n"
        "    restart_with_tunables()\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:\n"
        "        print(pool.submit(os.getenv, 'GLIBC_TUNABLES').result())\n"
    )
    (tmp_path / "pool.py").write_text(code)
    env = CLEAN | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "pool.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == memory.complete_tunables("")


@needs_glibc
def test_a_signal_that_was_to_be_ignored_still_is(tmp_path):
    """As `nohup` does: the shell's user has gone, the run goes on."""
    (tmp_path / "show.py").write_text(
        "import signal\nfrom vjax.runtime.memory import restart_with_tunables\nrestart_with_tunables()\n"
        "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)\n"
    )
    done = subprocess.run(
        [sys.executable, "show.py"],
        cwd=tmp_path,
        env=CLEAN | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"


@pytest.fixture
def unset(monkeypatch):
    for name in (memory.TUNABLES, memory.ONCE):
        monkeypatch.delenv(name, raising=False)
    memory.advise.cache_clear()
    yield monkeypatch
    memory.advise.cache_clear()


@needs_glibc
def test_a_program_that_uses_vjax_is_advised_once(unset):
    with pytest.warns(UserWarning, match=r"start Python with GLIBC_TUNABLES=glibc\.malloc\.[^\n]*$"):
        memory.advise()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory.advise()


@pytest.mark.parametrize("environment", [{"GLIBC_TUNABLES": memory.complete_tunables("")}, {"VJAX_RESTART": "0"}])
def test_there_is_no_advice_where_it_is_followed_or_refused(unset, environment):
    for name, value in environment.items():
        unset.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory.advise()


@pytest.mark.slow
def test_training_in_a_program_of_one_s_own_gives_the_advice_and_a_command_does_not(tmp_path):
    words = ["--config.source.num_train=8", "--config.source.num_test=8", "--config.length=2"]
    words = ["configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data", *words]
    code = f"import vjax\nvjax.train(vjax.load_config({words[0]!r}, {words[1:]!r}), {str(tmp_path / 'a')!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=CLEAN, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("start Python with GLIBC_TUNABLES=") == HAS_GLIBC
    call = arguments("train.py", "--config", *words, "--workdir", tmp_path / "b")
    done = subprocess.run(**call | {"env": CLEAN}, capture_output=True, text=True, check=True, timeout=300)
    assert "GLIBC_TUNABLES" not in done.stderr


def faults(size, *, keep, **environment):
    """Returns the page faults of a block that is freed and asked for again, at worst."""
    code = """
import resource, sys
import numpy as np
from vjax.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    np.ones(int(sys.argv[2]))  # freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print(max(faults() for _ in range(20)) - first)
"""
    words = ["keep" if keep else "default", str(size)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=CLEAN | environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@needs_glibc
@pytest.mark.parametrize("size", [500_000, 10_000_000])
def test_freed_memory_stays_with_the_process(size):
    """A block, freed and asked for again, is not faulted in again: a record's 4 MB and a layer's 80 MB."""
    default = faults(size, keep=False)
    assert faults(size, keep=True) < default / 5
    assert faults(size, keep=False, GLIBC_TUNABLES=memory.complete_tunables("")) < default / 5


def test_without_glibc_nothing_happens(unset):
    unset.setattr(memory.os, "confstr", lambda name: None)
    unset.setattr(memory.os, "execve", lambda *_: pytest.fail("restarted"))
    unset.setattr(memory, "_can_restart", lambda: True)
    memory.restart_with_tunables()
    assert memory.keep_freed_memory() is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory.advise()


def test_without_huge_pages_large_blocks_are_kept_too(monkeypatch, tmp_path):
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    for path in (tmp_path / "enabled", tmp_path / "absent"):
        monkeypatch.setattr(memory, "_THP_MODE", path)
        settings = memory.wanted_tunables()
        assert int(settings["glibc.malloc.mmap_threshold"]) >= 2**33
        assert "glibc.malloc.hugetlb" not in settings
