"""The launch files of docs/launch: what a scheduler would read, and what they would run."""

import os
import pathlib
import re
import signal
import subprocess

import pytest
import yaml
from processes import ROOT, command

import vjax
from vjax.cli.boundary import EXIT_REQUEUE

SLURM = ROOT / "docs/launch/slurm.sh"
SERVICE, JOB = yaml.safe_load_all((ROOT / "docs/launch/kubernetes.yaml").read_text())
CONTAINER = JOB["spec"]["template"]["spec"]["containers"][0]


def sbatch_options():
    lines = re.findall(r"^#SBATCH --(\S+)$", SLURM.read_text(), flags=re.MULTILINE)
    return dict(line.partition("=")[::2] for line in lines)


def test_slurm_gives_every_gpu_a_process_and_time_to_save():
    options = sbatch_options()
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    name, _, seconds = options["signal"].partition("@")
    assert name == "TERM"
    assert int(seconds) >= 60
    assert options["requeue"] == ""
    assert options["open-mode"] == "append", "a job that goes on must not overwrite its log"


@pytest.fixture
def scheduler(tmp_path):
    """Programs in place of Slurm's: srun starts tasks that end as told, scontrol notes what it is asked for."""

    def write(name, text):
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    # As srun does, it gives the highest code of all tasks; a task that is told "wait" gets a SIGTERM with its shell.
    write(
        "srun",
        """
        set -m
        [ "$1" = --kill-on-bad-exit=0 ] || exit 250
        shift
        highest=0
        for ends_with in $TASKS; do
          ENDS_WITH=$ends_with "$@" &
          [ "$ends_with" != wait ] || { sleep 1; kill -TERM -- -$!; }
          wait $!
          code=$?
          [ $code -le $highest ] || highest=$code
        done
        exit $highest
        """,
    )
    write(
        "python",
        """
        echo "$@" >> "$HERE/started"
        case $ENDS_WITH in
          killed) kill -KILL $$ ;;
          aborted) kill -ABRT $$ ;;
          wait) trap "exit 75" TERM; for i in $(seq 100); do sleep 0.1; done ;;
          *) exit "$ENDS_WITH" ;;
        esac
        """,
    )
    write("scontrol", 'echo "$@" > "$HERE/asked"')

    def run(tasks, *words, **variables):
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "HERE": str(tmp_path), "TASKS": tasks, "SLURM_JOB_ID": "17",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", SLURM, *words], env=environment | variables, check=False, capture_output=True, text=True
        )
        asked = tmp_path / "asked"
        return (
            done.returncode,
            (tmp_path / "started").read_text().splitlines(),
            asked.read_text().strip() if asked.exists() else "",
        )

    return run


@pytest.mark.parametrize(
    ("tasks", "is_queued_again"),
    [
        ("0 0", False),
        ("2 2", False),
        ("1 75", False),  # a traceback in one process; the others see a peer that has died
        ("75 2 75", False),
        ("2 killed", False),
        (f"{EXIT_REQUEUE} {EXIT_REQUEUE}", True),
        ("75 killed 75", True),
        ("aborted killed 75", True),
        ("wait", True),
    ],
)
def test_slurm_s_job_is_queued_again_unless_a_process_has_an_error_to_mend(scheduler, tasks, is_queued_again):
    code, started, asked = scheduler(tasks, "--config", "configs/a b.py")
    assert started == ["train.py --config configs/a b.py"] * len(tasks.split())
    assert asked == ("requeue 17" if is_queued_again else "")
    assert (code == 0) == (tasks == "0 0")


def test_slurm_s_job_is_not_queued_again_for_ever(scheduler):
    _, _, asked = scheduler("killed", SLURM_RESTART_COUNT="100")
    assert asked == ""


def check_settings(words, *, num_devices):
    """A run of these words would start on so many devices."""
    flags = dict(word.split("=", 1) for word in words)
    overrides = [word for word in words if word.startswith("--config.")]
    config = vjax.load_config(str(ROOT / flags["--config"]), overrides)
    config.check_devices(num_devices)
    assert config.source.options["root"]
    assert flags["--workdir"]


def test_the_documented_settings_fit_the_devices_that_the_files_ask_for():
    (words,) = re.findall(r"^# sbatch docs/launch/slurm.sh (.*)$", SLURM.read_text(), flags=re.MULTILINE)
    options = sbatch_options()
    num_devices = int(options["nodes"]) * int(options["gpus-per-node"])
    check_settings(re.sub(r"(--\w+) ", r"\1=", words).split(), num_devices=num_devices)
    assert words in (ROOT / "docs/scaling.md").read_text()
    gpus = CONTAINER["resources"]["limits"]["nvidia.com/gpu"]
    check_settings(CONTAINER["args"], num_devices=JOB["spec"]["completions"] * gpus)


def test_every_pod_is_a_process_of_the_run():
    flags = dict(word.split("=", 1) for word in CONTAINER["args"])
    spec = JOB["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(flags["--num_processes"])
    (environment,) = CONTAINER["env"]
    assert flags["--process_id"] == f"$({environment['name']})"
    assert "job-completion-index" in environment["valueFrom"]["fieldRef"]["fieldPath"]


def test_process_0_is_found_by_the_service_s_name():
    flags = dict(word.split("=", 1) for word in CONTAINER["args"])
    host, port = flags["--coordinator"].split(":")
    name, service = JOB["metadata"]["name"], SERVICE["metadata"]["name"]
    assert host == f"{name}-0.{service}"
    assert JOB["spec"]["template"]["spec"]["subdomain"] == service
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["selector"] == {"job-name": name}
    assert [each["containerPort"] for each in CONTAINER["ports"]] == [int(port)]


def test_a_pod_that_asks_for_it_starts_again_and_one_that_a_person_must_mend_does_not():
    rules = JOB["spec"]["podFailurePolicy"]["rules"]
    actions = {
        code: rule["action"] for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]
    }
    assert actions == {EXIT_REQUEUE: "Ignore", 128 + signal.SIGABRT: "Ignore", 2: "FailJob"}
    assert {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule} == {CONTAINER["name"]}
    assert JOB["spec"]["template"]["spec"]["restartPolicy"] == "Never", "else a failure policy is refused"


def test_the_pod_s_command_is_one_that_train_py_knows():
    assert CONTAINER["command"] == ["python", "train.py"]
    known = command("train.py", "--help").stdout
    for word in CONTAINER["args"]:
        flag, _, value = word.partition("=")
        assert flag in known or flag.startswith("--config.")
        assert flag != "--config" or pathlib.Path(ROOT / value).is_file()


def test_what_a_pod_writes_to_is_mounted():
    mounts = {each["name"] for each in CONTAINER["volumeMounts"]}
    assert mounts == {each["name"] for each in JOB["spec"]["template"]["spec"]["volumes"]}
