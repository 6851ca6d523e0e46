"""Start `r2id app` with digits, measure how soon it answers, and ask it for much at once.

    python benchmarks/hardening/app.py

Speaks to the page as a browser does: by its queue, with a session for each visitor. Writes what it measured to
results/app.json. Fails if a request fails or a limit of LIMITS is not kept.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

RESULTS = Path(__file__).parent / "results"
LIMITS = {"first digit, s": 10.0, "decode again at 512x512, s": 0.5, "failed requests": 0, "memory grown, MiB": 100}
PARTS = 5
"""Of the requests; every part is by other visitors. Memory counts from the second on, as the first warms up."""
THEIRS = ("torchinductor_root", ".ses")
WATCHED = """
import ctypes, os, signal, socket, sys
signal.signal(signal.SIGUSR1, lambda *_: ctypes.CDLL(None).malloc_trim(0))
def watch(event, arguments):
    if event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        if arguments[1][0] not in ("127.0.0.1", "::1", "localhost"):
            os.write(2, f"CONNECTS {arguments[1]}\\n".encode())
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "::1", "localhost", None):
        os.write(2, f"CONNECTS {arguments[0]}\\n".encode())
sys.addaudithook(watch)
sys.argv = ["r2id", "app", "--model", "mnist", "--port", sys.argv[1]]
from r2id.cli import main
main()
"""


def functions(config: dict[str, Any]) -> dict[str, int]:
    """The number of what the page computes when an element is clicked, by the element's id.

    A click may have further events that only run a script in the browser; the page computes nothing for these.
    """
    names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    return {
        names[target]: one["id"]
        for one in config["dependencies"]
        if one["backend_fn"]
        for target, event in one["targets"]
        if event in ("click", "select") and names.get(target)
    }


class Refused(Exception):
    """What the page said in place of a result."""


class Visitor:
    """One session of the page."""

    def __init__(self, address: str) -> None:
        self.client = httpx.Client(base_url=address, timeout=180)
        self.session = uuid.uuid4().hex
        config = self.client.get("/config").json()
        self.functions = functions(config)

    def ask(self, element: str, *values: Any, event: dict[str, Any] | None = None) -> list[Any]:
        """What the page answers when an element with this id is clicked, with these inputs. Raises Refused."""
        asked = {"data": values, "event_data": event, "fn_index": self.functions[element], "trigger_id": None}
        joined = self.client.post("/gradio_api/queue/join", json=asked | {"session_hash": self.session})
        if joined.is_error:
            raise Refused(joined.text)
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {"msg": ""}
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise Refused(message["output"]["error"])
                    return message["output"]["data"]
                if message["msg"] == "unexpected_error":
                    raise Refused(message.get("message"))
        raise Refused("the stream ended without a result")

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """An uploaded file as an input of the page. Raises Refused."""
        answer = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        if answer.is_error:
            raise Refused(answer.text)
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def generate(self, label: str, latent: int = 8, size: int = 64, steps: int = 20, seed: int = 1) -> list[Any]:
        return self.ask("generate", [label], latent, latent, size, size, steps, 4.0, seed, 1, "one canvas", [], 4)


def picture(address: str) -> Image.Image:
    """The picture that a data address holds."""
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def start(folder: Path) -> tuple[subprocess.Popen, str, Path]:
    """The page as a process of its own whose temporary files lie in a folder; its address, and what it printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir()
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, str(port)], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    return process, f"http://127.0.0.1:{port}", log


def wait_for(address: str, process: subprocess.Popen) -> Visitor:
    """The first visitor, as soon as there is somebody to visit."""
    while process.poll() is None:
        try:
            return Visitor(address)
        except httpx.TransportError:
            time.sleep(0.02)
    raise SystemExit(f"the page ended with exit status {process.returncode}")


def visit(address: str, number: int, requests: int) -> list[tuple[str, float, str]]:
    """One visitor's first picture and then so many requests at random: kind, seconds, and what was wrong with each."""
    chance, visitor, results = random.Random(number), Visitor(address), []
    kinds = ("generate", "generate", "decode", "zoom", "zoom-out", "look", "upload", "save", "too large")
    for count in range(1 + requests):
        kind = chance.choice(kinds) if count else "generate"
        began = time.monotonic()
        try:
            wrong = request(visitor, kind, chance)
        except (Refused, httpx.HTTPError) as error:
            wrong = f"{type(error).__name__}: {error}"
        results.append((kind, time.monotonic() - began, wrong))
    return results


PICTURES: dict[tuple[Any, ...], str] = {}
"""Checksums of what was answered; the same request of another visitor has the same answer."""


def request(visitor: Visitor, kind: str, chance: random.Random) -> str:
    """Ask for something at random; returns what is wrong with the answer, nothing if it is right."""
    height, width = chance.choice([(32, 32), (27, 18), (64, 64), (256, 256)])
    if kind == "generate":
        label, latent, seed = chance.choice("0123456789"), chance.choice([4, 6, 8]), chance.randrange(3)
        pictures, _, _, line, _ = visitor.generate(label, latent, height, steps=5, seed=seed)
        content = hashlib.sha256(pictures[0].encode()).hexdigest()
        same = PICTURES.setdefault((label, latent, seed, height), content) == content
        expected = f"1 latent of {latent}x{latent}, decoded at {height}x{height}"
        right = same and line == expected and picture(pictures[0]).size == (height, height)
    elif kind == "decode":
        pictures, _, _, line, _ = visitor.ask("decode", None, height, width)
        right = line.endswith(f"decoded at {height}x{width}") and picture(pictures[0]).size == (width, height)
    elif kind in ("zoom", "zoom-out"):
        part = {"part": [0.25, 0.25, 0.75, 0.75]} if kind == "zoom" else None
        shown, _ = visitor.ask("viewer" if kind == "zoom" else kind, None, event=part)
        right = max(picture(shown["picture"]).size) == 480
    elif kind == "look":
        shown, latent, _ = visitor.ask("strip", None, event={"index": 0})
        right = max(picture(shown["picture"]).size) == 480 and picture(latent).width > 0
    elif kind == "upload":
        content = io.BytesIO()
        Image.new("RGB", (width, height), (chance.randrange(256),) * 3).save(content, "png")
        file = visitor.upload("mine.png", content.getvalue())
        pictures, _, _, line, _ = visitor.ask("encode", file, 6, 4, 2 * height, 2 * width)
        right = line == f"1 latent of 6x4, decoded at {2 * height}x{2 * width}"
        right = right and picture(pictures[0]).size == (2 * width, 2 * height)
    elif kind == "save":
        files = visitor.ask("save", None)[0]["value"]
        right = len(files) == 2 and all(visitor.client.get(file["url"]).is_success for file in files)
    else:
        try:
            visitor.ask("decode", None, 4096, 4096)
            right = False
        except Refused as refused:
            right = "at most 2048" in str(refused)
    return "" if right else "a wrong answer"


def memory(process: subprocess.Popen, trimmed: bool = False) -> float:
    """Resident memory in MiB, if trimmed without what was freed and the allocator still holds."""
    if trimmed:
        process.send_signal(signal.SIGUSR1)
        time.sleep(3)
    return psutil.Process(process.pid).memory_info().rss / 2**20


def forbidden(visitor: Visitor) -> list[str]:
    """Paths outside of the temporary folder that the page hands out, or takes for an upload."""
    paths = (
        "/etc/passwd",
        __file__,
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "~/.bashrc",
        "/proc/self/environ",
    )
    routes = ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/gradio_api/stream/")
    reached = [route + path for route in routes for path in paths if visitor.client.get(route + path).is_success]
    for path in paths:
        try:
            visitor.ask("encode", {"path": path, "meta": {"_type": "gradio.FileData"}}, 4, 4, 32, 32)
            reached.append(f"upload {path}")
        except Refused:
            pass
    return reached


def measure(clients: int, requests: int) -> dict[str, Any]:
    """Everything, from the start of the page to its end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        busy = psutil.cpu_percent(1.0)
        began = time.monotonic()
        process, address, log = start(folder)
        try:
            visitor = wait_for(address, process)
            answers = time.monotonic() - began
            visitor.generate("3")
            first = time.monotonic() - began
            computed = sum(psutil.Process(process.pid).cpu_times()[:2])
            again = []
            for size in (512, 64) * 7:
                before = time.monotonic()
                visitor.ask("decode", None, size, size)
                again += [time.monotonic() - before] if size == 512 else []
            sizes, results = [memory(process)], []
            with ThreadPoolExecutor(clients) as pool:
                for part in range(PARTS):
                    each = -(-requests // (clients * PARTS))
                    jobs = [pool.submit(visit, address, clients * part + number, each) for number in range(clients)]
                    results += [result for job in jobs for result in job.result()]
                    sizes.append(memory(process))
            in_use = memory(process, trimmed=True)
            reached = forbidden(visitor)
            kept = sum(path.stat().st_size for path in (folder / "tmp").rglob("*") if path.is_file()) / 2**20
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        seconds = [seconds for _, seconds, _ in results]
        # torch and the hub's client keep an empty folder and a note there.
        left = [str(path.relative_to(folder)) for path in (folder / "tmp").iterdir() if path.name not in THEIRS]
        said = log.read_text()
        return {
            "CPU busy before, %": busy,
            "page answers, s": round(answers, 2),
            "first digit, s": round(first, 2),
            "CPU time until then, s": round(computed, 2),
            "decode again at 512x512, s": round(statistics.median(again), 3),
            "requests": len(results),
            "of kinds": dict(Counter(kind for kind, _, _ in results)),
            "failed requests": sum(bool(wrong) for _, _, wrong in results),
            "failures": sorted({f"{kind}: {wrong}" for kind, _, wrong in results if wrong}),
            "median request, s": round(statistics.median(seconds), 2),
            "longest request, s": round(max(seconds), 2),
            "memory before and after each part, MiB": [round(size) for size in sizes],
            "memory in the end without what was freed, MiB": round(in_use),
            "memory grown, MiB": round(sizes[-1] - sizes[2]),
            "temporary files in the end, MiB": round(kept, 1),
            "temporary files left after the end": left,
            "reached outside of the temporary folder": reached,
            "connections elsewhere": re.findall("CONNECTS (.*)", said),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8, help="visitors at once")
    parser.add_argument(
        "--requests", type=int, default=200, help="of all visitors together, after their first pictures"
    )
    arguments = parser.parse_args()
    measured = measure(arguments.clients, arguments.requests)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "app.json").write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured, indent=1))
    missed = [f"{name} is {measured[name]}, over {most}" for name, most in LIMITS.items() if measured[name] > most]
    empty = ("reached outside of the temporary folder", "connections elsewhere", "temporary files left after the end")
    missed += [f"{name}: {', '.join(map(str, measured[name]))}" for name in empty if measured[name]]
    if missed:
        raise SystemExit("; ".join(missed))


if __name__ == "__main__":
    main()
