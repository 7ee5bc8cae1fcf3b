"""Serves a run: `python examples/serve.py WORKDIR`, then `curl --data-binary @new.mp4 http://127.0.0.1:8000`."""

import argparse
import asyncio
import tempfile
import time

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
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
    return {"segments": segments, "scores": dict(zip(names, timeline.probs.mean(0).tolist(), strict=True))}


def make_app(trained, max_mb, max_s):
    """Returns the application: an upload and its answer have limits, and one video is computed at a time."""
    turn = asyncio.Semaphore(1)

    async def predict(request):
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            try:
                async with asyncio.timeout(max_s):
                    async for chunk in request.stream():
                        if file.tell() + len(chunk) > max_mb * 1e6:
                            raise HTTPException(413, f"a video may have {max_mb:g} MB")
                        file.write(chunk)
                async with turn:
                    return JSONResponse(await run_in_threadpool(answer, trained, file.name, time.monotonic() + max_s))
            except vjax.VideoError as error:
                raise HTTPException(422, str(error).replace(file.name, "the video")) from error
            except TimeoutError:
                raise HTTPException(408, f"an upload may take {max_s:g} s, and so may its answer") from None

    return Starlette(routes=[Route("/", predict, methods=["POST"])])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", help="work directory of a training run")
    parser.add_argument("--port", type=int, default=8000, help="port of this machine")
    parser.add_argument("--max-mb", type=float, default=100, help="megabytes of an upload")
    parser.add_argument("--max-s", type=float, default=60, help="seconds of an upload, and of its answer")
    args = parser.parse_args()
    uvicorn.run(make_app(vjax.load(args.workdir), args.max_mb, args.max_s), port=args.port, limit_concurrency=8)
