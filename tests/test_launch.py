"""The launch files of docs/launch: what a scheduler would read, and what they would run."""

import os
import pathlib
import re
import subprocess

import pytest
import yaml
from processes import ROOT, command

from vjax.__main__ import EXIT_REQUEUE

SLURM = ROOT / "docs/launch/slurm.sh"
SERVICE, JOB = yaml.safe_load_all((ROOT / "docs/launch/kubernetes.yaml").read_text())
CONTAINER = JOB["spec"]["template"]["spec"]["containers"][0]


def sbatch_options():
    lines = re.findall(r"^#SBATCH --(\S+)$", SLURM.read_text(), flags=re.MULTILINE)
    return dict(line.partition("=")[::2] for line in lines)


def test_slurm_gives_every_gpu_a_process_and_time_to_save():
    options = sbatch_options()
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    signal, _, seconds = options["signal"].partition("@")
    assert signal == "TERM"
    assert int(seconds) >= 60
    assert options["requeue"] == ""
    assert options["open-mode"] == "append", "a job that goes on must not overwrite its log"


@pytest.fixture
def scheduler(tmp_path):
    """Programs in place of Slurm's: srun ends as told, scontrol notes what it is asked for."""

    def write(name, text):
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    write("srun", 'echo "$@" > "$HERE/srun_arguments"; exit "$ENDS_WITH"')
    write("scontrol", 'echo "$@" > "$HERE/asked"')

    def run(code, *words):
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "HERE": str(tmp_path), "ENDS_WITH": str(code),
            "SLURM_JOB_ID": "17",
        }  # fmt: skip
        done = subprocess.run(["bash", SLURM, *words], env=environment, check=False, capture_output=True, text=True)
        asked = tmp_path / "asked"
        return (
            done,
            (tmp_path / "srun_arguments").read_text().strip(),
            asked.read_text().strip() if asked.exists() else "",
        )

    return run


@pytest.mark.parametrize(("code", "expected"), [(0, ""), (2, ""), (EXIT_REQUEUE, "requeue 17")])
def test_slurm_s_job_is_queued_again_where_the_run_asks_for_it_and_only_there(scheduler, code, expected):
    done, started, asked = scheduler(code, "--config", "configs/a b.py")
    assert done.returncode == code, done.stderr
    assert asked == expected
    assert started == "--kill-on-bad-exit=0 python train.py --config configs/a b.py"


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
    assert actions == {EXIT_REQUEUE: "Ignore", 2: "FailJob"}
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
