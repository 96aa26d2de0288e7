"""A wall clock that can be stepped, for a server that is started with it (LD_PRELOAD)."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from pathlib import Path

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
/* Adds the number in the file $SKEW_FILE, in ms, to the wall clock and to nothing else. */
static const volatile int64_t *ms;
static int (*real_day)(struct timeval *, void *);
static int (*real_clock)(clockid_t, struct timespec *);
__attribute__((constructor)) static void begin(void) {
  real_day = dlsym(RTLD_NEXT, "gettimeofday");
  real_clock = dlsym(RTLD_NEXT, "clock_gettime");
  const char *path = getenv("SKEW_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *place = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (place != MAP_FAILED) ms = place;
}
static int64_t skew(void) { return ms ? *ms : 0; }
int gettimeofday(struct timeval *tv, void *tz) {
  if (!real_day) begin();
  int result = real_day(tv, tz);
  int64_t us = tv->tv_usec + skew() * 1000;
  tv->tv_sec += us / 1000000;
  if ((us %= 1000000) < 0) { us += 1000000; tv->tv_sec--; }
  tv->tv_usec = us;
  return result;
}
int clock_gettime(clockid_t id, struct timespec *ts) {
  if (!real_clock) begin();
  int result = real_clock(id, ts);
  if (id != CLOCK_REALTIME) return result;
  int64_t ns = ts->tv_nsec + skew() * 1000000;
  ts->tv_sec += ns / 1000000000;
  if ((ns %= 1000000000) < 0) { ns += 1000000000; ts->tv_sec--; }
  ts->tv_nsec = ns;
  return result;
}
time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


def compiler() -> str | None:
    """Return the C compiler, if there is one."""
    return shutil.which("cc")


def build(folder: Path) -> Path:
    """Compile the shim into *folder*."""
    program = compiler()
    assert program is not None
    source, shim = folder / "skew.c", folder / "skew.so"
    source.write_text(SHIM)
    command = [program, "-O1", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return shim


class Skew:
    """The clock of whoever is started with `env`."""

    def __init__(self, shim: Path, file: Path) -> None:
        file.write_bytes(bytes(8))
        self.env = {"LD_PRELOAD": str(shim), "SKEW_FILE": str(file)}
        number = os.open(file, os.O_RDWR)
        self._place = mmap.mmap(number, 8)
        os.close(number)

    def step(self, ms: int) -> None:
        """Set it so far from the true time, at once for all its readers."""
        self._place[:8] = ms.to_bytes(8, "little", signed=True)
