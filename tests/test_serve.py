"""`examples/serve.py`: good, huge, broken, slow and too many requests."""

import contextlib
import http.client
import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time

import pytest
from processes import ROOT, arguments

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))), reason="the extra 'serve' is not installed"
)


@contextlib.contextmanager
def serving(workdir, *words):
    """Starts the example as a process, and yields its port once it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = arguments("vjax")
    started["args"] = [sys.executable, str(ROOT / "examples/serve.py"), str(workdir), "--port", str(port), *words]
    started["env"] |= {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(**started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout:
                if "running on" in line:
                    break
            else:
                raise AssertionError("the server has ended")
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield port
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def port(run_of_levels):
    with serving(run_of_levels / "run", "--max-mb", "1", "--max-s", "30") as port:
        yield port


def post(port, content, *, timeout=120):
    """Sends bytes; returns the status and the body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        # A server that refuses an upload may close the connection before it has read all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/", body=content)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@contextlib.contextmanager
def half_sent(port):
    """Begins an upload that does not go on."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf")
        yield connection


def test_a_video_gets_its_segments_and_the_scores_of_its_classes(port, run_of_levels):
    status, body = post(port, (run_of_levels / "long.mp4").read_bytes())
    found = json.loads(body)
    assert status == 200, body
    assert set(found["scores"]) == {"fall", "rise"}
    assert sum(found["scores"].values()) == pytest.approx(1, abs=1e-3)
    assert found["segments"]
    for segment in found["segments"]:
        assert set(segment) == {"start_s", "end_s", "class", "score"}
        assert 0 <= segment["start_s"] < segment["end_s"] <= 10.1


def test_what_is_no_video_is_refused_without_a_path_of_the_machine(port):
    status, body = post(port, b"no video")
    assert status == 422
    assert "the video: no video can be opened" in body
    assert "/tmp" not in body


def test_a_huge_upload_is_refused(port):
    status, body = post(port, bytes(5_000_000))
    assert (status, body) == (413, "a video may have 1 MB")


def test_the_server_answers_after_all_that(port, run_of_levels):
    assert post(port, (run_of_levels / "long.mkv").read_bytes())[0] == 200


def test_slow_uploads_end_in_time_and_too_many_requests_are_turned_away(run_of_levels, tmp_path):
    with serving(run_of_levels / "run", "--max-s", "2") as port, contextlib.ExitStack() as stack:
        first = stack.enter_context(half_sent(port))
        started = time.monotonic()
        assert first.recv(1000).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 20
        for _ in range(8):
            stack.enter_context(half_sent(port))
        assert post(port, b"no video")[0] == 503


def test_an_answer_that_takes_too_long_is_given_up(run_of_levels):
    # The first one waits for the compiler.
    with serving(run_of_levels / "run", "--max-s", "0.2") as port:
        status, body = post(port, (run_of_levels / "long.mp4").read_bytes())
    assert (status, body) == (408, "an upload may take 0.2 s, and so may its answer")


def test_the_example_is_short():
    assert len((ROOT / "examples/serve.py").read_text().splitlines()) < 60
