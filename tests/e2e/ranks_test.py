#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ranks as processes of the real program: on this machine, and on two "hosts" that are network namespaces.

Usage: ranks_test.py PROGRAM
"""
import json
import os
import signal
import socket
import subprocess
import time

import lanner
from lanner import TestCase
from two_hosts import TwoHosts

SECRET = "a secret of the tests, long enough"
SUM_BYTES = 1 << 20
REPEAT = 20
# The benchmark's own: one sum that is checked, then some to warm up.
SUMS = REPEAT + REPEAT // 5 + 2 + 1


def start(*arguments, prefix=(), **environment):
    return subprocess.Popen([*prefix, *lanner.COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "LANNER_SECRET": SECRET, **environment})


def finish(process, timeout=None):
    try:
        out, err = process.communicate(timeout=timeout or 2 * lanner.TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RanksTest(TestCase):
    BACKENDS = ("shm", "oneccl")

    def setUp(self):
        super().setUp()
        self.address = self.new_address()
        self.started = []

    def new_address(self):
        return f"127.0.0.1:{free_port()}"

    def tearDown(self):
        for process in self.started:
            process.kill()
            process.communicate()

    def start(self, *arguments, **options):
        process = start("bench", "comm", *arguments, **options)
        self.started.append(process)
        return process

    def start_rank(self, rank, *arguments, **options):
        return self.start("--rendezvous", self.address, "--rank", rank, *arguments, **options)

    def report_of(self, process):
        status, out, err = finish(process)
        self.assertEqual(status, 0, err)
        return json.loads(out)

    def check_report(self, report, backend):
        rows = {row["sum_bytes"]: row for row in report["all_reduce"] if row["backend"] == backend}
        self.assertIn(SUM_BYTES, rows)
        for row in rows.values():
            self.assertGreater(row["min_us"], 0)
            self.assertLessEqual(row["min_us"], row["median_us"])
            self.assertLessEqual(row["median_us"], row["p99_us"])
        self.assertEqual([row["backend"] for row in report["step"]].count(backend), 1)
        return rows

    def skip_without_oneccl(self, report):
        for row in report["skipped"]:
            self.skipTest(row["reason"])

    def test_ranks_that_are_started_here(self):
        report = json.loads(self.assert_runs("bench", "comm", "--bytes", f"16384,{SUM_BYTES}", "--repeat", REPEAT,
                                             "--json").out)
        self.assertEqual(report["ranks"], 2)
        rows = self.check_report(report, "shm")
        # Two ranks: each hands its part to the other one, and nothing is copied on the way.
        self.assertEqual(rows[16384]["sent_bytes"], 16384)
        self.assertEqual(rows[SUM_BYTES]["sent_bytes"], SUM_BYTES)
        self.assertEqual(rows[16384]["copied_bytes"], 0)
        self.skip_without_oneccl(report)
        rows = self.check_report(report, "oneccl")
        self.assertEqual(rows[16384]["sent_bytes"], 16384)
        self.assertEqual(rows[16384]["copied_bytes"], 0)

    def test_places_that_a_launcher_gives(self):
        for rank_name, size_name in (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
                                     ("SLURM_PROCID", "SLURM_NTASKS")):
            self.address = self.new_address()
            ranks = [self.start("--rendezvous", self.address, "--backend", "shm", "--bytes", SUM_BYTES, "--repeat", 3,
                                "--json", **{rank_name: str(rank), size_name: "3"}) for rank in (1, 2, 0)]
            report = self.report_of(ranks.pop())
            self.assertEqual(report["ranks"], 3)
            for rank in ranks:
                status, out, err = finish(rank)
                self.assertEqual((status, out), (0, ""), err)

    def test_a_stranger_disturbs_nobody(self):
        rank_0 = self.start_rank(0, "--ranks", 2, "--bytes", SUM_BYTES, "--repeat", 3, "--json")
        status, _, err = finish(self.start_rank(1, LANNER_SECRET="another secret than the job's"))
        self.assertNotEqual(status, 0)
        self.assertIn("its secret is", err)
        status, _, err = finish(self.start_rank(1, "--ranks", 2))
        self.assertEqual(status, 0, err)
        report = self.report_of(rank_0)
        self.assertEqual(len(report["all_reduce"]) + len(report["skipped"]), len(self.BACKENDS))

    def test_a_rank_that_is_killed_or_stopped_ends_the_job(self):
        for backend in self.BACKENDS:
            for number, expected in ((signal.SIGKILL, "has died"), (signal.SIGSTOP, "has been silent")):
                with self.subTest(backend=backend, signal=number):
                    self.address = self.new_address()
                    arguments = ("--ranks", 2, "--backend", backend, "--bytes", 1 << 16, "--repeat", 1000000)
                    rank_0 = self.start_rank(0, *arguments)
                    rank_1 = self.start_rank(1)
                    # Until they measure: oneCCL takes a second to start.
                    deadline = time.monotonic() + 5
                    while time.monotonic() < deadline and rank_0.poll() is None:
                        time.sleep(0.1)
                    if rank_0.poll() is not None:
                        _, _, err = finish(rank_0)
                        if "oneCCL cannot be used" in err:
                            self.skipTest(err)
                        self.fail(err)
                    rank_1.send_signal(number)
                    status, _, err = finish(rank_0)  # within its own time
                    self.assertNotEqual(status, 0)
                    self.assertRegex(err, r"rank 1 .*(has died|has ended|has been silent)")
                    if number == signal.SIGSTOP:
                        self.assertIn(expected, err)
                        rank_1.kill()
                    rank_1.communicate()
                    left = [name for name in os.listdir("/dev/shm")
                            if name.startswith((f"{rank_0.pid}:", f"{rank_1.pid}:"))]
                    self.assertEqual(left, [])


class HostsTest(RanksTest):
    """Two namespaces with a cable between them, a name of its own each."""

    BACKENDS = ("oneccl",)

    def setUp(self):
        self.hosts = TwoHosts()
        super().setUp()
        self.hosts.start(self)

    def new_address(self):
        return f"{self.hosts.ADDRESSES[0]}:{free_port()}"

    def start_rank(self, rank, *arguments, **options):
        return super().start_rank(rank, *arguments, prefix=self.hosts.prefix(rank), **options)

    def measure(self):
        before = [self.hosts.sent_bytes(host) for host in range(2)]
        rank_0 = self.start_rank(0, "--ranks", 2, "--bytes", SUM_BYTES, "--repeat", REPEAT, "--json")
        status, _, err = finish(self.start_rank(1))
        self.assertEqual(status, 0, err)
        report = self.report_of(rank_0)
        self.skip_without_oneccl(report)
        self.assertEqual(report["hosts"], list(self.hosts.NAMES))
        self.assertEqual(report["interface"], "zz0")
        row = self.check_report(report, "oneccl")[SUM_BYTES]
        self.assertEqual(row["copied_bytes"], 0)
        for host, count in enumerate(before):
            # Headers, acknowledgements and the step's messages come on top.
            ratio = (self.hosts.sent_bytes(host) - count) / (row["sent_bytes"] * SUMS)
            self.assertGreater(ratio, 0.99)
            self.assertLess(ratio, 1.25)
        return row

    def test_ranks_of_two_hosts(self):
        self.measure()

    def test_a_slow_cable(self):
        self.hosts.slow_down(self)
        # 1 Gbit/s carries the megabyte in 8.4 ms; a burst may save the first 256 KiB.
        self.assertGreater(self.measure()["median_us"], 5000)

    def test_memory_is_not_shared_between_hosts(self):
        rank_0 = self.start_rank(0, "--ranks", 2, "--backend", "shm")
        rank_1 = self.start_rank(1)
        for rank in (rank_0, rank_1):
            status, _, err = finish(rank)
            self.assertNotEqual(status, 0)
            self.assertIn("the ranks are on several hosts, which share no memory", err)

    # What belongs to one machine is not run again.
    test_ranks_that_are_started_here = None
    test_places_that_a_launcher_gives = None


if __name__ == "__main__":
    lanner.main()
