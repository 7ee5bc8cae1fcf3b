"""Serves a run: `python examples/serve.py WORKDIR [PORT]`, then `curl --data-binary @new.mp4 http://127.0.0.1:8000`."""

import asyncio
import sys
import tempfile
import time

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route

import vjax


def answer(trained, path, deadline):
    """Returns the segments and the mean probabilities of a video file; raises TimeoutError after the deadline."""

    def advance(_):
        if time.monotonic() > deadline:
            raise TimeoutError

    timeline, names = trained.timeline(path, advance=advance), trained.class_names
    segments = [found.named(names) for found in timeline.segments(vjax.SegmentFinder(enter=0.5, leave=0.35, min_s=1))]
    scores = dict(zip(names, timeline.probs.mean(0).tolist(), strict=True))
    return {"segments": segments, "scores": scores, "error": timeline.error.replace(path, "the video")}


def make_app(trained, *, max_mb, max_s):
    """Returns the application: uploads and requests have limits, and one video is computed at a time."""
    turn = asyncio.Semaphore(1)

    async def predict(request):
        deadline = time.monotonic() + max_s
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            try:
                async with asyncio.timeout(max_s):
                    async for chunk in request.stream():
                        if file.tell() + len(chunk) > max_mb * 1e6:
                            raise HTTPException(413, f"a video may have {max_mb:g} MB")
                        file.write(chunk)
                    async with turn:
                        return JSONResponse(await run_in_threadpool(answer, trained, file.name, deadline))
            except TimeoutError:
                raise HTTPException(408, f"a request may take {max_s:g} s, with its answer") from None
            except (vjax.VideoError, ClientDisconnect) as error:
                raise HTTPException(422, str(error).replace(file.name, "the video")) from None

    return Starlette(routes=[Route("/", predict, methods=["POST"])])


if __name__ == "__main__":
    _, workdir, port, *_ = [*sys.argv, 8000] if sys.argv[1:] else sys.exit(__doc__)
    app = make_app(vjax.load(workdir), max_mb=100, max_s=60)
    uvicorn.run(app, port=int(port), limit_concurrency=9, timeout_graceful_shutdown=5)
