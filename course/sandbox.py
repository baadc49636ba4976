"""Runs one answer in a process of its own, which knows the inputs of the hidden tests but not what is right.

The process is forked from a server that has torch and the package loaded, so it starts in a few hundredths of a
second. It has a folder of its own, limits of time and memory, and no network. A hook refuses files elsewhere, other
processes and sockets. That keeps curious and careless code away; it is no wall against an expert, for whom a
grader should run in a container.
"""

from __future__ import annotations

import ctypes
import importlib.util
import io
import linecache
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import torch

import minigroupvit
from minigroupvit import grouping, losses, segmentation, visual  # noqa: F401 (loaded once, for all forks)

from .blanks import ROOT

PACKAGE = Path(minigroupvit.__file__).parent
READABLE = [str(p) for p in (sys.prefix, sys.base_prefix, PACKAGE, ROOT / "data" / "weights", *map(
    Path, ("/dev", "/sys/devices", "/proc/cpuinfo", "/proc/meminfo", "/usr/share", "/etc/localtime")))]
# Beginnings of the events (Python's "audit events table") that an answer has no need of.
NEVER = ("socket.", "subprocess.", "os.exec", "os.fork", "os.kill", "os.posix_spawn", "os.system", "ctypes.", "pty.",
         "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
         "shutil.")
MOST_BYTES = 64 * 2**20          # of what an answer returns
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000      # of unshare(2)


@dataclass(frozen=True)
class Job:
    """One blank of one student."""

    notebook: str
    name: str
    source: str
    forbid: tuple[str, ...]
    seeds: tuple[int, ...]       # each part is tried once with each of them
    memory: int                  # MB, beyond what torch itself takes
    seconds: int                 # of the processor; three times as many by the clock, for answers that sleep
    folder: str = ""


def start_server() -> multiprocessing.context.ForkServerContext:
    """The server of forks. Raises RuntimeError where the system has none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise RuntimeError("grading needs Linux or macOS; on Windows run it in WSL")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.update(MINIGROUPVIT_BUDGET="tiny", OMP_NUM_THREADS="1", MPLBACKEND="agg")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["course.grade"])       # and with it this module, torch and the package
    return context


def run(context: multiprocessing.context.ForkServerContext, job: Job) -> dict:
    """What each part of the hidden tests returned, or what went wrong under "error"; other facts under their names."""
    late = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(send, Job(**{**vars(job), "folder": os.path.realpath(folder)})))
        process.start()
        send.close()

        def kill() -> None:
            for stop in (os.killpg, os.kill):       # its group, and itself if it has none yet
                try:
                    stop(process.pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass

        timer = threading.Timer(3 * job.seconds, lambda: (late.set(), kill()))
        timer.start()
        try:
            # Tensors, numbers and texts alone: nothing that a student's process sends is unpickled.
            return torch.load(io.BytesIO(receive.recv_bytes(MOST_BYTES)), "cpu", weights_only=True)
        except Exception as error:
            process.join()
            if late.is_set() or process.exitcode == -signal.SIGXCPU:
                return {"error": f"took longer than {job.seconds} s; is there a loop without an end?"}
            return {"error": "the process ended without an answer" if isinstance(error, EOFError) else
                    f"what it returned cannot be read ({type(error).__name__})"}
        finally:
            timer.cancel()
            kill()
            process.join()
            receive.close()


def work(pipe: multiprocessing.connection.Connection, job: Job) -> None:
    """In the forked process: runs the answer and sends what it returns."""
    os.setsid()
    os.chdir(job.folder)
    os.environ.update(HOME=job.folder, TMPDIR=job.folder)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.closerange(3, pipe.fileno())               # whatever is shared with the server, which a write could end
    os.closerange(pipe.fileno() + 1, 4096)
    torch.set_num_threads(1)
    hidden = getattr(importlib.import_module(f"course.hidden.notebook_{job.notebook}"), job.name)
    result = {"tried": [], "offline": leave_network()}
    blocked = forbid(job.forbid)
    limit(job)
    sys.addaudithook(lambda event, given: check(event, given, job.folder, blocked, result["tried"]))
    names, tests = {"__name__": "__main__"}, parts(hidden)
    for module in [m for m in sys.modules if m.split(".")[0] in ("course", "__main__", "__mp_main__")]:
        file = getattr(sys.modules.pop(module), "__file__", None)     # an answer that imports them finds nothing
        # torch.manual_seed takes a traceback, which would open the files of all callers: here they have no lines.
        linecache.cache[file] = (0, None, [], file)
    try:
        exec(compile(job.source, "answer", "exec"), names)
    except BaseException as error:
        result["error"] = told(error)
    else:
        for part, test in tests.items():
            try:
                result[part] = [plain(test(names[job.name], torch.Generator().manual_seed(s))) for s in job.seeds]
            except BaseException as error:
                result[part] = told(error)
    content = io.BytesIO()
    torch.save(result, content)
    pipe.send_bytes(content.getvalue())
    os._exit(0)


def parts(hidden: type) -> dict:
    """The functions of a blank's hidden tests by their names."""
    return {name: test for name, test in vars(hidden).items() if not name.startswith("_")}


def told(error: BaseException) -> str:
    if isinstance(error, NotImplementedError):
        return "not written yet"
    return f"{type(error).__name__}: {error}"[:300]


def plain(value: object) -> object:
    """Tensors without their history, numbers, texts, and lists of these; anything else as text."""
    if isinstance(value, torch.Tensor):
        return torch.empty(value.shape, dtype=value.dtype).copy_(value.detach())
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value if type(value) in (bool, int, float, str, type(None)) else str(value)[:300]


def leave_network() -> bool:
    """Whether the process could be cut off from the network: Linux, where it may make namespaces."""
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    return unshare is not None and (unshare(NEW_NETWORK) == 0 or unshare(NEW_USER | NEW_NETWORK) == 0)


def limit(job: Job) -> None:
    """Limits of this process: memory (on macOS without effect), time of the CPU, no core file."""
    taken = 0
    resource.setrlimit(resource.RLIMIT_CPU, (job.seconds, job.seconds + 1))
    if os.path.exists("/proc/self/statm"):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for kind, value in ((resource.RLIMIT_AS, taken + job.memory * 2**20), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (value, value))


def forbid(names: tuple[str, ...]) -> set[str]:
    """Puts a refusal in the place of functions, in every module of the package and of theirs that has them; their files."""
    files = set()
    for name in names:
        module, attribute = name.rsplit(".", 1)
        real = getattr(importlib.import_module(module), attribute)
        files |= {sys.modules[module].__file__, importlib.util.cache_from_source(sys.modules[module].__file__)}

        def refuse(*_, name: str = name, **__):
            raise PermissionError(f"{name} is the answer itself; write it")

        packages = ("minigroupvit", name.split(".")[0])
        for other in [m for n, m in sys.modules.items() if n.split(".")[0] in packages and hasattr(m, "__dict__")]:
            for own in [key for key, value in vars(other).items() if value is real]:
                setattr(other, own, refuse)
    return files


def check(event: str, given: tuple, folder: str, blocked: set[str], tried: list[str]) -> None:
    """The hook: raises PermissionError for what an answer has no need of, and writes it down in `tried`."""
    name, fine = event, not event.startswith(NEVER)
    if event == "open" and isinstance(given[0], (str, bytes)):
        name = os.path.realpath(os.fsdecode(given[0]))
        writes = (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        fine = name == os.devnull or not writes and name not in blocked and within(name, [folder, *READABLE])
    if not fine:
        named = [given[0]] if event.startswith("os.") and given and isinstance(given[0], str) else []
        tried.append(" ".join([name, *named])[:200])
        raise PermissionError(f"an answer may not use {name}")


def within(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)
