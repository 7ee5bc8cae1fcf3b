"""`examples/serve.py`: good, huge, broken, slow and too many requests, and clients that go away."""

import contextlib
import http.client
import importlib.util
import json
import logging
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from processes import ROOT, arguments

import vjax

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))), reason="the extra 'serve' is not installed"
)
EXAMPLE = ROOT / "examples/serve.py"


@contextlib.contextmanager
def serving(trained, **limits):
    """Serves a run in a thread, and yields the port."""
    import uvicorn

    app = runpy.run_path(str(EXAMPLE))["make_app"](trained, **limits)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(60)


@pytest.fixture(scope="module")
def trained(run_of_levels):
    return vjax.load(run_of_levels / "run")


@pytest.fixture(scope="module")
def port(trained):
    with serving(trained, max_mb=1, max_s=60) as port:
        yield port


def post(port, content):
    """Sends bytes; returns the status and the body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        # A server that refuses an upload may close the connection before it has read all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/", body=content)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def begin(port):
    """Begins an upload that does not go on; returns its connection."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf")
    return connection


def check_good(status, body):
    found = json.loads(body)
    assert status == 200, body
    assert set(found["scores"]) == {"fall", "rise"}
    assert sum(found["scores"].values()) == pytest.approx(1, abs=1e-3)
    for segment in found["segments"]:
        assert set(segment) == {"start_s", "end_s", "class", "score"}
        assert 0 <= segment["start_s"] < segment["end_s"] <= 10.1
    return found


def test_a_video_gets_its_segments_and_the_scores_of_its_classes(port, run_of_levels):
    found = check_good(*post(port, (run_of_levels / "long.mp4").read_bytes()))
    assert found["segments"]
    assert found["error"] == ""


def test_chunks_without_a_length_are_an_upload_too(port, run_of_levels):
    content = (run_of_levels / "long.mkv").read_bytes()
    check_good(*post(port, (content[at : at + 5000] for at in range(0, len(content), 5000))))


def test_a_video_that_breaks_off_says_so(port, run_of_levels):
    content = bytearray((run_of_levels / "long.mp4").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    found = check_good(*post(port, bytes(content)))
    assert found["error"].startswith("the video: ")


@pytest.mark.parametrize("content", [b"no video", b""])
def test_what_is_no_video_is_refused_without_a_path_of_the_machine(port, content):
    status, body = post(port, content)
    assert status == 422
    assert body.startswith("the video: ")
    assert "/tmp" not in body


def test_a_huge_upload_is_refused(port):
    assert post(port, bytes(5_000_000)) == (413, "a video may have 1 MB")


def test_a_client_that_goes_away_leaves_no_traceback_and_the_server_answers_the_next(port, run_of_levels, caplog):
    with caplog.at_level(logging.ERROR):
        begin(port).close()
        check_good(*post(port, (run_of_levels / "long.mkv").read_bytes()))
    assert "Traceback" not in caplog.text


def test_a_slow_upload_ends_in_time(trained):
    with serving(trained, max_mb=1, max_s=1) as port, contextlib.closing(begin(port)) as connection:
        started = time.monotonic()
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 20


def test_an_answer_that_takes_too_long_is_given_up(trained, run_of_levels):
    with serving(trained, max_mb=1, max_s=0.01) as port:
        status, body = post(port, (run_of_levels / "long.mp4").read_bytes())
    assert (status, body) == (408, "a request may take 0.01 s, with its answer")


def test_the_command_turns_the_ninth_connection_away_and_ends_with_ctrl_c(run_of_levels):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = arguments("vjax")
    started["args"] = [sys.executable, str(EXAMPLE), str(run_of_levels / "run"), str(port)]
    started["env"] |= {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(**started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert any("running on" in line for line in process.stdout), "the server has ended"
            threading.Thread(target=process.stdout.read, daemon=True).start()
            with contextlib.ExitStack() as stack:
                for _ in range(7):
                    stack.enter_context(begin(port))
                assert post(port, b"no video")[0] == 422
                stack.enter_context(begin(port))
                assert post(port, b"no video")[0] == 503
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()


def test_without_arguments_the_example_says_how_it_is_used():
    started = arguments("vjax")
    started["args"] = [sys.executable, str(EXAMPLE)]
    started["env"] |= {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(**started, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "python examples/serve.py WORKDIR" in done.stderr


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 60
